"""How good and how fast a model is on a split: the one measurement behind `val`, exported twins and `compare`."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch

from masktrain_trainer.data.loader import ValBatch, val_batches
from masktrain_trainer.data.prepared import PreparedDataset, Split
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics

from .models import Model
from .predictor import VALIDATION, Predictor, round_up


@dataclass(frozen=True)
class Measured:
    """`milliseconds`: per image, in loading, in the network and in NMS."""

    metrics: DetectionMetrics
    milliseconds: dict[str, float]

    @property
    def frames_per_second(self) -> float:
        """Of the network and NMS; how images are loaded is not the model's doing."""
        return 1000 / max(self.milliseconds["network"] + self.milliseconds["nms"], 1e-9)


def size_for(model: Model, asked: int | None = None) -> int:
    """The side in pixels at which it is measured, `asked` or as trained. Raises InvalidConfiguration."""
    if model.fixed_shape is None:
        return round_up(asked or model.image_size, model.stride)
    height, width = model.fixed_shape
    if height != width:
        raise InvalidConfiguration(
            f"{model.title} takes pictures of {height} x {width} px alone, and is measured on squares; "
            "export it for any size, or for a square."
        )
    if asked not in (None, height):
        raise InvalidConfiguration(
            f"{model.title} takes pictures of {height} px alone; leave the image size out, or export it for {asked} px."
        )
    return height


def measure(model: Model, prepared: PreparedDataset, split: Split, *, image_size: int, batch_size: int) -> Measured:
    """Precision, recall and mAP as in validation during a training. `split` is prepared for `image_size`."""
    watch = _Stopwatch(model.network.device)
    batches = val_batches(
        prepared,
        split,
        image_size=image_size,
        batch_size=batch_size,
        stride=model.stride,
        rectangular=model.fixed_shape is None,
    )
    parts = list(_statistics(Predictor(model.network, VALIDATION), batches, watch))
    metrics = DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts))
    return Measured(metrics, {part: 1000 * seconds / len(split.images) for part, seconds in watch.seconds.items()})


@dataclass
class _Stopwatch:
    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def of(self, part: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        # A GPU works on behind the host: the next part would be charged with it.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - started


def _statistics(predictor: Predictor, batches: Iterator[ValBatch], watch: _Stopwatch) -> Iterator[DetectionStatistics]:
    # No `for` loop, because the time until the next batch is what is measured.
    warm = set[tuple[int, ...]]()
    while True:
        with watch.of("load"):
            batch = next(batches, None)
        if batch is None:
            return
        if (shape := tuple(batch.images_BCHW.shape)) not in warm:
            # What is compiled or tuned for a shape is no part of how fast it runs.
            predictor.infer(batch.images_BCHW)
            warm.add(shape)
        with watch.of("network"):
            inference = predictor.infer(batch.images_BCHW)
        with watch.of("nms"):
            detections = predictor.detections(inference, batch.placements)
        for position, found_K6 in enumerate(detections):
            yield DetectionStatistics.of_image(found_K6, batch.labels(position))
