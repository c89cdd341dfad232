"""Which block follows which: the two layer tables of YOLOv5, and the ten sizes that scale them in depth and width.

P5 detectors look at strides 8, 16 and 32; P6 detectors add stride 64. Channels and repeats are those of width and depth
1.0. A layer reads the one before it; `Concat` adds the output of an earlier layer.
"""

import math
from dataclasses import dataclass
from types import MappingProxyType

from masktrain_trainer.config import Architecture

AnchorsPx = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Width and height in pixels of the three anchors of one level."""


@dataclass(frozen=True)
class Conv:
    channels: int
    kernel: int = 1
    stride: int = 1
    padding: int | None = None


@dataclass(frozen=True)
class C3:
    channels: int
    repeats: int = 3
    shortcut: bool = False


@dataclass(frozen=True)
class Sppf:
    channels: int
    kernel: int = 5


@dataclass(frozen=True)
class Upsample:
    factor: int = 2


@dataclass(frozen=True)
class Concat:
    other: int
    """Index of the layer whose output is appended to that of the layer before."""


Layer = Conv | C3 | Sppf | Upsample | Concat


@dataclass(frozen=True)
class Graph:
    layers: tuple[Layer, ...]
    detect_sources: tuple[int, ...]
    """Indices of the layers that feed the head, finest level first."""
    strides: tuple[int, ...]
    anchors_px: tuple[AnchorsPx, ...]


def _downsample(channels: int) -> Conv:
    return Conv(channels, kernel=3, stride=2)


_STEM_TO_STRIDE_16 = (
    # Since YOLOv5 v6.0; files from before have a Focus layer here, and are refused.
    Conv(64, kernel=6, stride=2, padding=2),  # 0, stride 2
    _downsample(128),  # 1, stride 4
    C3(128, repeats=3, shortcut=True),
    _downsample(256),  # 3, stride 8
    C3(256, repeats=6, shortcut=True),
    _downsample(512),  # 5, stride 16
    C3(512, repeats=9, shortcut=True),
)

P5 = Graph(
    layers=(
        *_STEM_TO_STRIDE_16,
        _downsample(1024),  # 7, stride 32
        C3(1024, repeats=3, shortcut=True),
        Sppf(1024),
        Conv(512),  # 10: from here upwards to finer levels
        Upsample(),
        Concat(6),
        C3(512),
        Conv(256),  # 14
        Upsample(),
        Concat(4),
        C3(256),  # 17: output at stride 8
        _downsample(256),  # and back down
        Concat(14),
        C3(512),  # 20: output at stride 16
        _downsample(512),
        Concat(10),
        C3(1024),  # 23: output at stride 32
    ),
    detect_sources=(17, 20, 23),
    strides=(8, 16, 32),
    anchors_px=(
        ((10, 13), (16, 30), (33, 23)),
        ((30, 61), (62, 45), (59, 119)),
        ((116, 90), (156, 198), (373, 326)),
    ),
)

P6 = Graph(
    layers=(
        *_STEM_TO_STRIDE_16,
        _downsample(768),  # 7, stride 32
        C3(768, repeats=3, shortcut=True),
        _downsample(1024),  # 9, stride 64
        C3(1024, repeats=3, shortcut=True),
        Sppf(1024),
        Conv(768),  # 12: from here upwards to finer levels
        Upsample(),
        Concat(8),
        C3(768),
        Conv(512),  # 16
        Upsample(),
        Concat(6),
        C3(512),
        Conv(256),  # 20
        Upsample(),
        Concat(4),
        C3(256),  # 23: output at stride 8
        _downsample(256),  # and back down
        Concat(20),
        C3(512),  # 26: output at stride 16
        _downsample(512),
        Concat(16),
        C3(768),  # 29: output at stride 32
        _downsample(768),
        Concat(12),
        C3(1024),  # 32: output at stride 64
    ),
    detect_sources=(23, 26, 29, 32),
    strides=(8, 16, 32, 64),
    anchors_px=(
        ((19, 27), (44, 40), (38, 94)),
        ((96, 68), (86, 152), (180, 137)),
        ((140, 301), (303, 264), (238, 542)),
        ((436, 615), (739, 380), (925, 792)),
    ),
)


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
