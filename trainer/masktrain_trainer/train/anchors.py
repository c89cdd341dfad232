"""Anchors that suit the data set: checked before a new training, fitted anew if they miss too many boxes."""

import logging

import numpy as np
import torch

from masktrain_trainer.config import TrainingSpec
from masktrain_trainer.data.prepared import CachedImages, PreparedDataset
from masktrain_trainer.model.autoanchor import AnchorFit, Sides, box_sides, fit_anchors, jittered, measure
from masktrain_trainer.model.yolo import Yolo

from .distributed import Ranks

log = logging.getLogger(__name__)


def suit_anchors(model: Yolo, prepared: PreparedDataset, training: TrainingSpec, ranks: Ranks) -> None:
    """Give `model` other anchors where its own recall too few of the training boxes; rank 0's choice, on all ranks."""
    chosen_A2 = _choose(_anchors_px(model), training_sides(prepared), training) if ranks.leads else None
    anchors_A2 = ranks.broadcast(chosen_A2)
    if anchors_A2 is not None:
        strides_L11 = np.array(model.strides, float).reshape(-1, 1, 1)
        model.anchors.copy_(torch.from_numpy(anchors_A2.reshape(model.anchors.shape) / strides_L11))


def training_sides(prepared: PreparedDataset) -> Sides:
    """(N, 2) widths and heights in pixels of all training boxes at the size of training."""
    images = CachedImages(prepared.train.labels, prepared.train.cache)
    targets = [images.targets(index) for index in range(len(images))]
    owner_N = np.repeat(np.arange(len(targets)), [len(rows) for rows in targets])
    image_wh_M2 = np.array([(record.width, record.height) for record in prepared.train.images], float)
    boxes_N5 = np.concatenate(targets).astype(float)
    return box_sides(image_wh_M2, owner_N, boxes_N5[:, 3:], prepared.image_size)


def _choose(current_A2: Sides, sides_N2: Sides, training: TrainingSpec) -> Sides | None:
    """Better anchors in pixels, or None if the current ones stay."""
    threshold, seed = training.hyperparameters.anchor_threshold, training.seed
    judged_N2 = jittered(sides_N2, seed)
    current = measure(current_A2, judged_N2, threshold)
    if current.suffices:
        log.info("anchors: %s", _words(current))
        return None
    try:
        fitted_A2 = fit_anchors(sides_N2, len(current_A2), threshold, seed)
    except ValueError as error:
        log.info("anchors: %s, but %s", _words(current), error)
        return None
    fitted = measure(fitted_A2, judged_N2, threshold)
    if fitted.recall <= current.recall:
        log.info("anchors: %s; fitted ones are not better and not used", _words(current))
        return None
    log.info("anchors: %s; fitted to the boxes: %s: %s", _words(current), _words(fitted), _pixels(fitted_A2))
    return fitted_A2


def _anchors_px(model: Yolo) -> Sides:
    strides_L11 = np.array(model.strides, float).reshape(-1, 1, 1)
    anchors: Sides = (model.anchors.double().cpu().numpy() * strides_L11).reshape(-1, 2)
    return anchors


def _words(fit: AnchorFit) -> str:
    return f"best possible recall {fit.recall:.4f}, {fit.matching:.2f} anchors per box"


def _pixels(anchors_A2: Sides) -> str:
    return " ".join(f"{width:.0f},{height:.0f}" for width, height in anchors_A2)
