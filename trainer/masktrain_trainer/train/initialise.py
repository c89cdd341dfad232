"""Where a training starts: at a stored checkpoint, at given weights, or at random ones; the same on every rank.

Before the first step a new model may get anchors that suit the data set, frozen layers, batch norms over all ranks, and
may be compiled. None of it changes the names in the state dict, so checkpoints and best.pt look the same with and
without.
"""

import logging
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from masktrain_trainer.checkpoint.state_files import load_state
from masktrain_trainer.config import CHECKPOINT_CREDENTIALS, FailureReason, TrainingSpec
from masktrain_trainer.data.prepared import PreparedDataset, training_statistics
from masktrain_trainer.errors import InvalidConfiguration, InvalidWeights, UserError, user_error
from masktrain_trainer.model.autoanchor import AnchorFit, Sides, fit_anchors, jittered, measure
from masktrain_trainer.model.precision import build_scaler, with_layout
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.run_directory import RestoreResult, read_document
from masktrain_trainer.weights.load import fetch_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .devices import require_compiler_support
from .distributed import Ranks
from .optimizer import ModelEma, build_optimizer
from .state import Context, EarlyStopping, TrainingState, restore_state

log = logging.getLogger(__name__)


def freeze(model: Yolo, layers: int) -> None:
    """The first `layers` layers keep their weights; as in YOLOv5 their batch statistics still follow the data.

    Raises UserError if nothing but the head's input would be left to train.
    """
    if layers >= len(model.model):
        raise InvalidConfiguration(
            f"training.freeze is {layers}, but this architecture has {len(model.model) - 1} layers before its head.",
        )
    for layer in model.model[:layers]:
        layer.requires_grad_(False)
    if layers:
        log.info("the first %d layers are frozen", layers)


def synchronise_batch_norms(model: Yolo, ranks: Ranks) -> None:
    """Batch norms see the batches of all ranks as one. PyTorch does that on GPUs only.

    Parameters stay the same objects; do it after the average is copied, which needs none of it.
    """
    if ranks.device.type != "cuda":
        log.info("training.syncBatchNorm has no effect on CPUs: each rank normalises over its own batch")
    elif not ranks.alone:
        nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


def compile_model(model: Yolo, device: torch.device) -> None:
    """Compile forward and backward passes for one size of image, at their first call.

    Raises UserError where the compiler behind torch.compile is missing, or makes no code for the GPU.
    """
    if device.type == "cuda":
        require_compiler_support(torch.cuda.get_device_capability(device))
    # Asked beforehand: torch itself would find out in the first batch, and say so at length.
    if shutil.which(os.environ.get("CXX", "g++")) is None and shutil.which("clang++") is None:
        raise InvalidConfiguration(
            "training.compile needs a C++ compiler in the trainer's image, and there is none: "
            "use an image with g++ in compute.image, or leave training.compile out.",
        )
    log.info("the model is compiled for this %s, which takes a while", device.type)
    # In place: around the model, a wrapper's prefix would stand in every name of the state dict.
    model.compile(dynamic=False)


def autoanchor(model: Yolo, prepared: PreparedDataset, training: TrainingSpec, ranks: Ranks) -> None:
    """Give `model` other anchors where its own recall too few of the training boxes; rank 0's choice, on all ranks."""
    found_A2 = None
    if ranks.leads:
        sides_N2 = training_statistics(prepared).sides_at(prepared.image_size)
        chosen_A2 = _choose(_anchors_px(model), sides_N2, training)
        found_A2 = None if chosen_A2 is None else torch.from_numpy(chosen_A2)
    anchors_A2 = ranks.broadcast(found_A2)
    if anchors_A2 is not None:
        strides_L11 = torch.tensor(model.strides, dtype=torch.float64).reshape(-1, 1, 1)
        model.anchors.copy_(anchors_A2.reshape(model.anchors.shape) / strides_L11)


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
    # By the same jittered boxes as the current ones, or luck would choose between them.
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


_HEAD_BIAS = "model.{}.m.0.bias"


@dataclass(frozen=True)
class _Start:
    """What rank 0 found; at most one of the two."""

    checkpoint: dict[str, Any] | None = None
    weights: dict[str, Tensor] | None = None


def initial_state(context: Context) -> TrainingState:
    """The state to train on from. Raises UserError, on all ranks alike, if the given weights cannot be used."""
    # The restore stage has run on rank 0's pod only.
    start = decided_by_rank_0(context.ranks, lambda: _find_start(context))
    torch.manual_seed(context.training.seed)  # the same weights on every rank
    model = build_yolo(context.config.model.architecture, len(context.prepared.names))
    if start.weights is not None:
        log.info("%s", transfer(model, start.weights))
    # A checkpoint brings the anchors that it was trained with.
    if context.training.auto_anchor and start.checkpoint is None:
        autoanchor(model, context.prepared, context.training, context.ranks)
    with_layout(model.to(device=context.ranks.device), torch.channels_last)
    state = _fresh_state(context, model)
    torch.manual_seed(context.training.seed + 1 + context.ranks.rank)
    if start.checkpoint is not None:
        restore_state(start.checkpoint, state, context.ranks)
        log.info("going on from the checkpoint of epoch %d, step %d", state.position.epoch, state.position.step)
    return state


def decided_by_rank_0(ranks: Ranks, find: Callable[[], _Start]) -> _Start:
    """Rank 0's answer on every rank; its UserError too, so that no rank waits for one that has given up."""
    answer: dict[str, Any] = {}
    if ranks.leads:
        try:
            answer = {"found": dict(vars(find()))}
        except UserError as error:
            answer = {"refused": [error.reason.value, str(error)]}
    answer = ranks.broadcast(answer)
    if "refused" in answer:
        reason, sentence = answer["refused"]
        raise user_error(FailureReason(reason), sentence)
    return _Start(**answer["found"])


def transfer(model: Yolo, weights: dict[str, Tensor]) -> str:
    """Take over what fits by name and shape, as YOLOv5 does; a sentence about it.

    Raises UserError if nothing fits.
    """
    own = model.state_dict()
    fitting = {
        name: tensor.to(own[name].dtype)
        for name, tensor in weights.items()
        if name in own and own[name].shape == tensor.shape
    }
    if not fitting:
        raise InvalidWeights(
            "None of the given weights fits the model: model.architecture must be the one that they were trained with.",
        )
    model.load_state_dict(fitting, strict=False)
    taken = f"{len(fitting)} of {len(own)} tensors taken over"
    return taken if _HEAD_BIAS.format(len(model.model) - 1) in fitting else f"{taken}; new head for {_classes(model)}"


def _classes(model: Yolo) -> str:
    return "1 class" if model.num_classes == 1 else f"{model.num_classes} classes"


def _fresh_state(context: Context, model: Yolo) -> TrainingState:
    h, training = context.hyperparameters, context.training
    # Before anything is frozen or converted: the average is of a plain model that all checkpoints can be loaded into.
    ema = ModelEma(model, h.ema_decay, h.ema_ramp_steps)
    freeze(model, training.freeze)
    if training.sync_batch_norm:
        synchronise_batch_norms(model, context.ranks)
    return TrainingState(
        model=model,
        ema=ema,
        optimizer=build_optimizer(model, h, training.batch_size, training.optimizer),
        scaler=build_scaler(context.ranks.device, context.format),
        early_stopping=EarlyStopping(training.patience),
        loss_sums_3=torch.zeros(3, device=context.ranks.device),
    )


def _find_start(context: Context) -> _Start:
    restored = read_document(context.run.restore_result, RestoreResult)
    if restored is not None and restored.file is not None:
        return _Start(checkpoint=load_state(Path(restored.file)))
    if context.config.model.from_scratch:
        return _Start()
    return _Start(weights=_read_weights(context).state_dict)


def _read_weights(context: Context) -> DetectorWeights:
    """By way of the workspace: the rest of a pod is read-only. Raises UserError if the given weights cannot be used."""
    config = context.config
    with tempfile.TemporaryDirectory(dir=context.run.root) as folder:
        credentials = Path(CHECKPOINT_CREDENTIALS)
        return fetch_weights(config.model, config.checkpoint.store, credentials, Path(folder) / "weights.pt")
