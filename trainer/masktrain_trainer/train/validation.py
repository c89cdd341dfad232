"""Validation on all ranks: each takes its share of the images, rank 0 computes the metrics of all of them together."""

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from masktrain_trainer.data.loader import ValBatch, val_batches
from masktrain_trainer.data.prepared import Split
from masktrain_trainer.heartbeat import Activity
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.predict.predictor import VALIDATION, Predictor, TorchNetwork

from .distributed import StepConsensus, StepRequests
from .state import Context

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
    def __init__(self, context: Context, loss: DetectionLoss, consensus: StepConsensus) -> None:
        self._context = context
        self._loss = loss
        self._consensus = consensus
        self._batch_size = 2 * max(1, context.training.batch_size // context.ranks.world_size)
        """Without gradients twice the images fit."""

    @torch.inference_mode()
    def run(self, model: Yolo, observe: Observer | None = None, split: Split | None = None) -> Validation | None:
        """Validate `model`, which must be equal on all ranks; on the validation split unless another is given.

        None if the pod was asked to stop meanwhile.
        """
        started = time.monotonic()
        split = split or self._context.prepared.val
        share = _RankResults(self._context.ranks.device)
        predictor = Predictor(TorchNetwork(model.fuse(), self._context.format), VALIDATION)
        with matching(self._context.ranks.device) as match:
            for number, batch in enumerate(self._batches(split)):
                self._context.heartbeat.beat(Activity.VALIDATING)
                found = self._predict(predictor, batch, share)
                match(partial(share.match, batch, found, observe))
                if self._stop_is_agreed(number, len(split.images)):
                    return None
        return self._combine(share, started)

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
            pinned=ranks.device.type == "cuda",
        )

    def _stop_is_agreed(self, number: int, images: int) -> bool:
        """Asked only at batches that every rank has, since some have one more."""
        batches = math.ceil(images / self._batch_size)
        if number >= batches // self._context.ranks.world_size:
            return False
        return self._consensus.exchange(StepRequests(stop=self._context.run.stop.exists())).stop

    def _predict(self, predictor: Predictor, batch: ValBatch, share: "_RankResults") -> list[Tensor]:
        """Each image's detections; the batch's losses go to `share`."""
        inference = predictor.infer(batch.images_BCHW)
        _, items_3 = self._loss(inference.raws, batch.targets_M6.to(predictor.device))
        # By images, since the last batch of a split may be smaller.
        share.add_losses(items_3, len(batch.images_BCHW))
        return predictor.detections(inference, batch.placements)

    def _combine(self, share: "_RankResults", started: float) -> Validation:
        ranks = self._context.ranks
        sums_4 = ranks.sum(share.loss_sums_4).tolist()
        # A few numbers for each detection and label; boxes and images stay on the rank that has them.
        parts = ranks.gather_to_leader(DetectionStatistics.concatenate(share.statistics).to_tensors())
        statistics = DetectionStatistics.concatenate(list(map(DetectionStatistics.from_tensors, parts)))
        # Computed once, so that early stopping decides alike on all ranks, to the last digit.
        metrics = DetectionMetrics.from_dict(
            ranks.broadcast(DetectionMetrics.from_statistics(statistics).to_dict() if ranks.leads else {})
        )
        box, objectness, classification = (total / max(sums_4[3], 1) for total in sums_4[:3])
        return Validation(
            (box, objectness, classification), metrics, time.monotonic() - started, statistics if ranks.leads else None
        )


class _RankResults:
    """What one rank has gathered. `loss_sums_4`: three losses times images, and the images."""

    def __init__(self, device: torch.device) -> None:
        self.loss_sums_4 = torch.zeros(4, device=device)
        self.statistics: list[DetectionStatistics] = []

    def add_losses(self, items_3: Tensor, images: int) -> None:
        self.loss_sums_4[:3] += items_3 * images
        self.loss_sums_4[3] += images

    @torch.inference_mode()
    def match(self, batch: ValBatch, found: list[Tensor], observe: Observer | None) -> None:
        for position, found_K6 in enumerate(found):
            labels_L5 = batch.labels(position)
            self.statistics.append(DetectionStatistics.of_image(found_K6, labels_L5))
            if observe is not None:
                observe(int(batch.indices_B[position]), found_K6, labels_L5)


@contextmanager
def matching(device: torch.device) -> Iterator[Callable[[Callable[[], None]], None]]:
    """Runs what it is called with in order, and is through with it at the end.

    Beside a GPU in a thread of its own, so that the next batch is on its way meanwhile; a CPU has no idle half.
    """
    if device.type == "cpu":
        yield lambda act: act()
        return
    with ThreadPoolExecutor(1, "matching") as thread:
        begun: list[Future[None]] = []
        yield lambda act: begun.append(thread.submit(act))
        for each in begun:
            each.result()
