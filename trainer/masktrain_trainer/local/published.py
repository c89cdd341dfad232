"""The ten checkpoints that YOLOv5 v7.0 was released with, and what was published about them."""

from dataclasses import dataclass

from masktrain_trainer.config import Architecture
from masktrain_trainer.weights.sources import RELEASE, official_url

__all__ = ["PUBLISHED", "RELEASE", "PublishedCheckpoint"]


@dataclass(frozen=True)
class PublishedCheckpoint:
    """`parameters`: with COCO's 80 classes. `map50`, `map50_95`: percent on COCO val2017, at `image_size` pixels."""

    architecture: Architecture
    parameters: int
    map50: float
    map50_95: float

    @property
    def image_size(self) -> int:
        return self.architecture.native_image_size

    @property
    def url(self) -> str:
        return official_url(self.architecture)


PUBLISHED = (
    PublishedCheckpoint(Architecture.YOLOV5N, 1_872_157, 45.7, 28.0),
    PublishedCheckpoint(Architecture.YOLOV5S, 7_235_389, 56.8, 37.4),
    PublishedCheckpoint(Architecture.YOLOV5M, 21_190_557, 64.1, 45.4),
    PublishedCheckpoint(Architecture.YOLOV5L, 46_563_709, 67.3, 49.0),
    PublishedCheckpoint(Architecture.YOLOV5X, 86_749_405, 68.9, 50.7),
    PublishedCheckpoint(Architecture.YOLOV5N6, 3_246_940, 54.4, 36.0),
    PublishedCheckpoint(Architecture.YOLOV5S6, 12_626_620, 63.7, 44.8),
    PublishedCheckpoint(Architecture.YOLOV5M6, 35_731_932, 69.3, 51.3),
    PublishedCheckpoint(Architecture.YOLOV5L6, 76_770_172, 71.3, 53.7),
    PublishedCheckpoint(Architecture.YOLOV5X6, 140_794_780, 72.7, 55.0),
)
"""Parameters: those that `model.yolo` builds; scores: the README of that release."""
