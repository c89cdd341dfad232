"""From pictures to named objects: YOLOv5's thresholds for detecting, and batches of pictures of one shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from masktrain_trainer.data.geometry import Image, Letterbox, Placement, letterbox, plan_letterbox
from masktrain_trainer.predict.models import Model
from masktrain_trainer.predict.predictor import Predictor, Thresholds, round_up

# YOLOv5's for detecting; for mAP it takes 300.
MAX_DETECTIONS = 1000


@dataclass(frozen=True)
class DetectionOptions:
    """YOLOv5's thresholds for detecting; `image_size` None means as trained, in pixels of the longer side."""

    confidence: float = 0.25
    iou: float = 0.45
    image_size: int | None = None
    max_detections: int = MAX_DETECTIONS
    agnostic: bool = False
    classes: Sequence[int] | None = None

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


class Detector:
    """A model with the thresholds of `options`, which may be replaced between two calls: sliders do."""

    def __init__(self, model: Model, options: DetectionOptions) -> None:
        self.model = model
        self._image_size = round_up(options.image_size or model.image_size, model.stride)
        self._predictor = Predictor(model.network, options.thresholds)

    @property
    def thresholds(self) -> Thresholds:
        return self._predictor.thresholds

    @thresholds.setter
    def thresholds(self, thresholds: Thresholds) -> None:
        self._predictor.thresholds = thresholds

    def __call__(self, pictures: Sequence[Image]) -> list[list[Detection]]:
        """Objects in each RGB picture, by falling confidence. Pictures that are letterboxed alike share a batch."""
        plans = [self._plan(picture) for picture in pictures]
        found: dict[int, list[Detection]] = {}
        for shape in dict.fromkeys(plan.output for plan in plans):
            alike = [number for number, plan in enumerate(plans) if plan.output == shape]
            detections = self._detect([pictures[number] for number in alike], [plans[number] for number in alike])
            found.update(zip(alike, detections, strict=True))
        return [found[number] for number in range(len(pictures))]

    def _plan(self, picture_HWC: Image) -> Letterbox:
        """Only as much is padded as the model's stride asks for."""
        height, width = picture_HWC.shape[:2]
        return plan_letterbox((height, width), (self._image_size, self._image_size), stride=self.model.stride)

    def _detect(self, pictures: list[Image], plans: list[Letterbox]) -> list[list[Detection]]:
        pixels = [letterbox(picture, plan) for picture, plan in zip(pictures, plans, strict=True)]
        inference = self._predictor.infer(torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2))
        places = [_placement(picture, plan) for picture, plan in zip(pictures, plans, strict=True)]
        return [self._named(found_K6) for found_K6 in self._predictor.detections(inference, places)]

    def _named(self, found_K6: Tensor) -> list[Detection]:
        return [
            Detection(int(label), self.model.names[int(label)], confidence, (x1, y1, x2, y2))
            for x1, y1, x2, y2, confidence, label in found_K6.tolist()
        ]


def _placement(picture_HWC: Image, plan: Letterbox) -> Placement:
    """The whole pixels by which the picture was moved.

    Validation takes the exact paddings instead, halves of pixels too, to give v7.0's mAP; see `loader.py`.
    """
    height, width = picture_HWC.shape[:2]
    return Placement((height, width), plan.ratio, plan.left, plan.top)
