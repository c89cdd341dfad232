"""The ten checkpoints that YOLOv5 v7.0 was released with, and what was published about them."""

from dataclasses import dataclass

from masktrain_trainer.config import Architecture
from masktrain_trainer.weights.sources import RELEASE, official_url

__all__ = ["PUBLISHED", "RELEASE", "PublishedCheckpoint"]


@dataclass(frozen=True)
class PublishedCheckpoint:
    """`parameters`: with COCO's 80 classes. `map50`, `map50_95`: percent on COCO val2017 at `image_size` pixels."""

    architecture: Architecture
    parameters: int
    image_size: int
    map50: float
    map50_95: float

    @property
    def url(self) -> str:
        return official_url(self.architecture)


PUBLISHED = (
    PublishedCheckpoint(Architecture.YOLOV5N, 1_872_157, 640, 45.7, 28.0),
    PublishedCheckpoint(Architecture.YOLOV5S, 7_235_389, 640, 56.8, 37.4),
    PublishedCheckpoint(Architecture.YOLOV5M, 21_190_557, 640, 64.1, 45.4),
    PublishedCheckpoint(Architecture.YOLOV5L, 46_563_709, 640, 67.3, 49.0),
    PublishedCheckpoint(Architecture.YOLOV5X, 86_749_405, 640, 68.9, 50.7),
    PublishedCheckpoint(Architecture.YOLOV5N6, 3_246_940, 1280, 54.4, 36.0),
    PublishedCheckpoint(Architecture.YOLOV5S6, 12_626_620, 1280, 63.7, 44.8),
    PublishedCheckpoint(Architecture.YOLOV5M6, 35_731_932, 1280, 69.3, 51.3),
    PublishedCheckpoint(Architecture.YOLOV5L6, 76_770_172, 1280, 71.3, 53.7),
    PublishedCheckpoint(Architecture.YOLOV5X6, 140_794_780, 1280, 72.7, 55.0),
)
"""Parameters: those that `model.yolo` builds; scores: the README of that release."""
