"""Validation on all ranks: each takes its share of the images, rank 0 computes the metrics of all of them together."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from masktrain_trainer.data.geometry import scale_boxes, xywhn_to_xyxy
from masktrain_trainer.data.loader import ValBatch, val_batches
from masktrain_trainer.data.prepared import Split
from masktrain_trainer.heartbeat import Activity
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics
from masktrain_trainer.model.nms import non_max_suppression
from masktrain_trainer.model.precision import autocast, to_input
from masktrain_trainer.model.yolo import Yolo

from .distributed import StepConsensus, StepRequests
from .state import Context

CONFIDENCE_THRESHOLD = 0.001
IOU_THRESHOLD = 0.6
MAX_DETECTIONS = 300

Observer = Callable[[int, Tensor, Tensor], None]
"""Called with an image's index, its detections (K, 6) and labels (L, 5: class, xyxy) in pixels of the original."""


@dataclass(frozen=True)
class Validation:
    """The same on all ranks, but `statistics`: those of all images on rank 0, none elsewhere.

    `losses`: box, objectness, class, per image.
    """

    losses: tuple[float, float, float]
    metrics: DetectionMetrics
    seconds: float
    statistics: DetectionStatistics | None = None


class Validator:
    def __init__(self, context: Context, loss: DetectionLoss, agreement: StepConsensus) -> None:
        self._context = context
        self._loss = loss
        self._agreement = agreement
        self._batch_size = 2 * max(1, context.training.batch_size // context.ranks.world_size)
        """Without gradients twice the images fit."""

    @torch.inference_mode()
    def run(self, model: Yolo, observe: Observer | None = None, split: Split | None = None) -> Validation | None:
        """Validate `model`, which must be equal on all ranks; on the validation split unless another is given.

        None if the pod was asked to stop meanwhile.
        """
        started = time.monotonic()
        split = split or self._context.prepared.val
        share = _Share(self._context.ranks.device)
        fused = model.fuse()
        for number, batch in enumerate(self._batches(split)):
            self._context.heart.beat(Activity.VALIDATING)
            self._validate_batch(fused, batch, share, observe)
            if self._stop_is_agreed(number, len(split.images)):
                return None
        return self._pool(share, started)

    def _batches(self, split: Split) -> Iterator[ValBatch]:
        context = self._context
        ranks = context.ranks
        return val_batches(
            context.prepared,
            split,
            image_size=context.training.image_size,
            batch_size=self._batch_size,
            rank=ranks.rank,
            world_size=ranks.world_size,
            stride=context.config.model.architecture.max_stride,
        )

    def _stop_is_agreed(self, number: int, images: int) -> bool:
        """Asked only at batches that every rank has, since some have one more."""
        batches = math.ceil(images / self._batch_size)
        if number >= batches // self._context.ranks.world_size:
            return False
        return self._agreement.exchange(StepRequests(stop=self._context.run.stop.exists())).stop

    def _validate_batch(self, model: Yolo, batch: ValBatch, share: "_Share", observe: Observer | None) -> None:
        device = self._context.ranks.device
        images_BCHW = to_input(batch.images_BCHW, next(model.parameters()))
        with autocast(device, self._context.format):
            raws = model(images_BCHW)
        _, items_3 = self._loss(raws, batch.targets_M6.to(device))
        share.add_losses(items_3, len(batch.images_BCHW))
        detections = non_max_suppression(
            model.decode(raws).float(),
            CONFIDENCE_THRESHOLD,
            IOU_THRESHOLD,
            multi_label=True,
            max_detections=MAX_DETECTIONS,
        )
        for position, found_K6 in enumerate(detections):
            original_K6, labels_L5 = in_original_pixels(batch, position, found_K6.cpu())
            share.statistics.append(DetectionStatistics.of_image(original_K6, labels_L5))
            if observe is not None:
                observe(int(batch.indices_B[position]), original_K6, labels_L5)

    def _pool(self, share: "_Share", started: float) -> Validation:
        ranks = self._context.ranks
        sums_4 = ranks.sum(share.loss_sums_4).tolist()
        parts = ranks.gather_to_leader(DetectionStatistics.concatenate(share.statistics))
        statistics = DetectionStatistics.concatenate(parts) if ranks.leads else None
        metrics = ranks.broadcast(None if statistics is None else DetectionMetrics.from_statistics(statistics))
        assert metrics is not None
        box, objectness, classification = (total / max(sums_4[3], 1) for total in sums_4[:3])
        return Validation((box, objectness, classification), metrics, time.monotonic() - started, statistics)


class _Share:
    """What one rank has gathered. `loss_sums_4`: three losses times images, and the images."""

    def __init__(self, device: torch.device) -> None:
        self.loss_sums_4 = torch.zeros(4, device=device)
        self.statistics: list[DetectionStatistics] = []

    def add_losses(self, items_3: Tensor, images: int) -> None:
        self.loss_sums_4[:3] += items_3 * images
        self.loss_sums_4[3] += images


def in_original_pixels(batch: ValBatch, position: int, found_K6: Tensor) -> tuple[Tensor, Tensor]:
    """Detections (K, 6) and labels (L, 5: class, xyxy) of one image, from the batch's pixels to its own."""
    network = (batch.images_BCHW.shape[2], batch.images_BCHW.shape[3])
    height, width = (int(side) for side in batch.original_sizes_B2[position])
    ratio, pad_x, pad_y = (float(value) for value in batch.ratio_pads_B3[position])
    targets = batch.targets_M6[batch.targets_M6[:, 0] == position].numpy()
    labels_N4 = xywhn_to_xyxy(targets[:, 2:], width=network[1], height=network[0])

    def back(boxes_N4: np.ndarray) -> np.ndarray:
        return scale_boxes(boxes_N4, network, (height, width), (ratio, pad_x, pad_y)).astype(np.float32)

    found = found_K6.numpy()
    return (
        torch.from_numpy(np.concatenate([back(found[:, :4]), found[:, 4:]], axis=1)),
        torch.from_numpy(np.concatenate([targets[:, 1:2], back(labels_N4)], axis=1)),
    )
