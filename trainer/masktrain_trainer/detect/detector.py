"""From pictures to named objects: YOLOv5's thresholds for detecting, and batches of pictures of one shape.

The way is cut where threads may change: `prepare` where pictures are read, `start` and what it returns where the
network is.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from masktrain_trainer.data.geometry import Image, Letterbox, Placement, Size, letterbox, plan_letterbox
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.models import Model
from masktrain_trainer.predict.predictor import Network, Predictor, Thresholds, round_up

from .augmented import AugmentedNetwork

# YOLOv5's for detecting; for mAP it takes 300.
MAX_DETECTIONS = 1000


@dataclass(frozen=True)
class DetectionOptions:
    """YOLOv5's thresholds for detecting.

    `image_size` in pixels of the longer side, or height and width; None means as trained. `augment`: see
    `augmented.py`.
    """

    confidence: float = 0.25
    iou: float = 0.45
    image_size: int | Size | None = None
    max_detections: int = MAX_DETECTIONS
    agnostic: bool = False
    classes: Sequence[int] | None = None
    augment: bool = False

    @property
    def thresholds(self) -> Thresholds:
        return Thresholds(self.confidence, self.iou, self.max_detections, agnostic=self.agnostic, classes=self.classes)


@dataclass(frozen=True)
class Detection:
    """`xyxy` in pixels of the picture as it was given."""

    class_index: int
    name: str
    confidence: float
    xyxy: tuple[float, float, float, float]


@dataclass(frozen=True)
class Prepared:
    """A picture as the network takes it, and where it lies in it."""

    pixels_HWC: Image
    placement: Placement

    @property
    def shape(self) -> Size:
        height, width = self.pixels_HWC.shape[:2]
        return height, width


PendingDetections = Callable[[], list[list[Detection]]]
"""Waits for a batch that was started; objects in each picture, by falling confidence."""


class Detector:
    """A model with the thresholds of `options`, which may be replaced between two calls: sliders do.

    `names` in place of the model's own. Raises InvalidConfiguration for options that the model cannot follow.
    """

    def __init__(self, model: Model, options: DetectionOptions, names: Sequence[str] | None = None) -> None:
        self.model = model
        self.names = list(names or model.names)
        self._target = _target(model, options.image_size)
        self._predictor = Predictor(_network(model, options), options.thresholds)

    @property
    def thresholds(self) -> Thresholds:
        return self._predictor.thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        self._predictor.thresholds = thresholds

    @property
    def batch_size(self) -> int:
        """Pictures that are worth waiting for before they are detected together."""
        if self._predictor.device.type == "cuda":
            return 16
        # Who runs several batches at a time, or one shape alone, fills the machine with single pictures.
        return 1 if self.in_flight > 1 or self.model.fixed_shape is not None else BATCH_ON_CPU

    @property
    def in_flight(self) -> int:
        """Batches that are worth having started before the first one is waited for."""
        return self._predictor.network.in_flight

    def __call__(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        """Objects in each RGB picture, by falling confidence. Pictures that are letterboxed alike share a batch."""
        prepared = [self.prepare(picture) for picture in pictures]
        found: list[list[Detection]] = [[] for _ in pictures]
        for alike in by_shape(prepared):
            detections = self.start([prepared[number] for number in alike])()
            for number, of_one in zip(alike, detections, strict=True):
                found[number] = of_one
        return found

    def prepare(self, picture_HWC: Image) -> Prepared:
        """Letterboxed, in any thread. Only as much is padded as the model's stride asks for, if it takes any shape."""
        height, width = picture_HWC.shape[:2]
        stride = self.model.stride if self.model.fixed_shape is None else None
        plan = plan_letterbox((height, width), self._target, stride=stride)
        return Prepared(letterbox(picture_HWC, plan), _placement((height, width), plan))

    def start(self, prepared: Sequence[Prepared]) -> PendingDetections:
        """Begin with a batch of pictures of one shape. What it returns belongs to the same thread."""
        pixels_BHWC = _batch([one.pixels_HWC for one in prepared])
        pending = self._predictor.network.start(torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2))
        places = [one.placement for one in prepared]
        return lambda: [self._named(found_K6) for found_K6 in self._predictor.detections(pending(), places)]

    def _named(self, found_K6: Tensor) -> list[Detection]:
        return [
            Detection(int(label), self.names[int(label)], confidence, (x1, y1, x2, y2))
            for x1, y1, x2, y2, confidence, label in found_K6.tolist()
        ]


BATCH_ON_CPU = 4
"""More pictures at a time leave the processor's caches."""


def _batch(pictures: Sequence[Image]) -> npt.NDArray[np.uint8]:
    """A single picture is not copied: most of the time of that goes into fresh memory."""
    return pictures[0][None] if len(pictures) == 1 else np.stack(pictures)


def by_shape(prepared: Sequence[Prepared]) -> list[list[int]]:
    """Positions of pictures that can share a batch."""
    alike: dict[Size, list[int]] = {}
    for number, one in enumerate(prepared):
        alike.setdefault(one.shape, []).append(number)
    return list(alike.values())


def _network(model: Model, options: DetectionOptions) -> Network:
    if not options.augment:
        return model.network
    if model.fixed_shape is not None:
        raise InvalidConfiguration(f"--augment looks at pictures of three sizes, and {model.title} takes one alone.")
    return AugmentedNetwork(model.network, model.stride)


def _target(model: Model, asked: int | Size | None) -> Size:
    """Height and width into which pictures are fitted."""
    size = asked if asked is not None else model.image_size
    height, width = size if isinstance(size, tuple) else (size, size)
    target = round_up(height, model.stride), round_up(width, model.stride)
    if model.fixed_shape is None:
        return target
    if asked is not None and target != model.fixed_shape:
        height, width = model.fixed_shape
        raise InvalidConfiguration(
            f"{model.title} takes pictures of {width} x {height} pixels alone; leave the image size out."
        )
    return model.fixed_shape


def _placement(original: Size, plan: Letterbox) -> Placement:
    """The whole pixels by which the picture was moved.

    Validation takes the exact paddings instead, halves of pixels too, to give v7.0's mAP; see `loader.py`.
    """
    return Placement(original, plan.ratio, plan.left, plan.top)
