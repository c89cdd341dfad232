"""The ten YOLOv5 detectors as one table: each is a layer graph with a depth and a width multiple."""

import math
from dataclasses import dataclass
from types import MappingProxyType

from masktrain_trainer.config import Architecture

from .graph import P5, P6, Graph


@dataclass(frozen=True)
class Size:
    depth: float
    width: float
    graph: Graph

    def channels(self, base: int) -> int:
        """Scaled channel count, rounded up to a multiple of 8 (tensor cores and SIMD want that)."""
        return math.ceil(base * self.width / 8) * 8

    def repeats(self, base: int) -> int:
        return max(round(base * self.depth), 1)


SIZES = MappingProxyType(
    {
        Architecture.YOLOV5N: Size(depth=0.33, width=0.25, graph=P5),
        Architecture.YOLOV5S: Size(depth=0.33, width=0.50, graph=P5),
        Architecture.YOLOV5M: Size(depth=0.67, width=0.75, graph=P5),
        Architecture.YOLOV5L: Size(depth=1.00, width=1.00, graph=P5),
        Architecture.YOLOV5X: Size(depth=1.33, width=1.25, graph=P5),
        Architecture.YOLOV5N6: Size(depth=0.33, width=0.25, graph=P6),
        Architecture.YOLOV5S6: Size(depth=0.33, width=0.50, graph=P6),
        Architecture.YOLOV5M6: Size(depth=0.67, width=0.75, graph=P6),
        Architecture.YOLOV5L6: Size(depth=1.00, width=1.00, graph=P6),
        Architecture.YOLOV5X6: Size(depth=1.33, width=1.25, graph=P6),
    }
)
