"""Array types of the data side, box arithmetic, and the letterbox: how images, and their boxes, are fitted to a shape.

Rectangular validation batches are planned here too: images of like aspect share a batch whose shape pads them least.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
"""Pixels (height, width, 3), red, green, blue, unless said otherwise."""
Boxes = npt.NDArray[np.float64]
"""(N, 4) boxes, or (N, 5) with the class first."""
Targets = npt.NDArray[np.float32]
"""(N, 5): class, centre x, centre y, width, height; the last four as fractions of the image."""
Matrix = npt.NDArray[np.float64]
"""(3, 3) homogeneous transform of pixel coordinates."""
Size = tuple[int, int]
"""Height and width in pixels."""

# YOLOv5's grey: published weights have seen it around every image, and know that nothing is there.
BORDER = 114
"""Grey of everything outside an image."""


CLIP_EPSILON = 1e-3
"""Pixels that YOLOv5 keeps between a clipped box and the far edges of a training image."""

Floats = npt.NDArray[np.floating]


def xywhn_to_xyxy(boxes_N4: Floats, *, width: float, height: float, pad_x: float = 0, pad_y: float = 0) -> Boxes:
    """Normalised centre boxes to pixel corners in an image (`width`, `height`) that lies at (`pad_x`, `pad_y`)."""
    centre, half = boxes_N4[:, :2], boxes_N4[:, 2:] / 2
    scale, offset = np.array([width, height], np.float64), np.array([pad_x, pad_y], np.float64)
    return np.concatenate([(centre - half) * scale + offset, (centre + half) * scale + offset], axis=1)


def xyxy_to_xywh(boxes_N4: Floats) -> Boxes:
    """Corners to centre, width, height, in the same unit."""
    low, high = boxes_N4[:, :2].astype(np.float64), boxes_N4[:, 2:].astype(np.float64)
    return np.concatenate([(low + high) / 2, high - low], axis=1)


def xyxy_to_xywhn(boxes_N4: Floats, *, width: float, height: float, clip_epsilon: float | None = None) -> Boxes:
    """Pixel corners to normalised centre boxes; with `clip_epsilon` cut off that many pixels before the far edges."""
    if clip_epsilon is not None:
        boxes_N4 = clip_boxes(boxes_N4, height - clip_epsilon, width - clip_epsilon)
    return xyxy_to_xywh(boxes_N4) / np.array([width, height, width, height], np.float64)


def clip_boxes(boxes_N4: Floats, height: float, width: float) -> Boxes:
    """Pixel corners, cut off at the edges of an image."""
    return np.clip(boxes_N4, 0, np.array([width, height, width, height], np.float64))


class Placement(NamedTuple):
    """Where an image lies in a network's input: scaled by `ratio`, then moved by the paddings.

    One ratio serves both axes, as in YOLOv5, although rounding to whole pixels makes them differ a little.
    """

    original: Size
    ratio: float
    pad_x: float
    pad_y: float


def scale_boxes(boxes_N4: Floats, placement: Placement) -> Boxes:
    """Pixel corners in the network's input back to the original image, clipped."""
    pad_x, pad_y = placement.pad_x, placement.pad_y
    offset = np.array([pad_x, pad_y, pad_x, pad_y], np.float64)
    return clip_boxes((boxes_N4 - offset) / placement.ratio, *placement.original)


@dataclass(frozen=True)
class Letterbox:
    """How a source image is fitted: `ratio`, the scaled size, the exact half paddings, and whole pixels per side."""

    ratio: float
    height: int
    width: int
    pad_x: float
    pad_y: float
    top: int
    bottom: int
    left: int
    right: int

    @property
    def output(self) -> Size:
        return self.height + self.top + self.bottom, self.width + self.left + self.right


def plan_letterbox(source: Size, target: Size, *, stride: int | None = None, enlarge: bool = True) -> Letterbox:
    """Plan the fit of `source` into `target`.

    With `stride` only as much is padded as makes the output a multiple of it (YOLOv5's `auto`). Without `enlarge` small
    images keep their size.
    """
    ratio = min(target[0] / source[0], target[1] / source[1])
    ratio = ratio if enlarge else min(ratio, 1.0)
    # A side never rounds to nothing, as it does in YOLOv5 with a strip of 2400 x 1 pixels.
    height, width = max(round(source[0] * ratio), 1), max(round(source[1] * ratio), 1)
    pad_y, pad_x = float(target[0] - height), float(target[1] - width)
    if stride is not None:
        pad_y, pad_x = pad_y % stride, pad_x % stride
    pad_y, pad_x = pad_y / 2, pad_x / 2
    # The odd pixel goes below and to the right, as in YOLOv5; the tenth decides halves, which round() takes to even.
    top, bottom = round(pad_y - 0.1), round(pad_y + 0.1)
    left, right = round(pad_x - 0.1), round(pad_x + 0.1)
    return Letterbox(ratio, height, width, pad_x, pad_y, top, bottom, left, right)


def letterbox(image_HWC: Image, plan: Letterbox) -> Image:
    """Apply `plan` to an image of its source size: a new image of `plan.output` size."""
    canvas = np.full((*plan.output, 3), BORDER, np.uint8)
    inside = canvas[plan.top : plan.top + plan.height, plan.left : plan.left + plan.width]
    if image_HWC.shape[:2] == inside.shape[:2]:
        inside[:] = image_HWC
    else:
        inside[:] = cv2.resize(image_HWC, (plan.width, plan.height), interpolation=cv2.INTER_LINEAR)
    return canvas


def fit_long_side(image_HWC: Image, image_size: int, *, area_when_shrinking: bool) -> Image:
    """Scale so that the long side is `image_size`, sizes truncated (YOLOv5's loading rule).

    Training shrinks bilinearly; validation averages areas, which aliases less.
    """
    height, width = image_HWC.shape[:2]
    ratio = image_size / max(height, width)
    if ratio == 1:
        return image_HWC
    interpolation = cv2.INTER_AREA if area_when_shrinking and ratio < 1 else cv2.INTER_LINEAR
    # A picture of an extreme aspect keeps at least one row.
    size = max(int(width * ratio), 1), max(int(height * ratio), 1)
    return np.asarray(cv2.resize(image_HWC, size, interpolation=interpolation), np.uint8)


PAD = 0.5
"""Strides of extra room around the batch's shape, YOLOv5's value for validation."""


@dataclass(frozen=True)
class RectangularPlan:
    order: npt.NDArray[np.int64]
    """(N,) image indices by rising height / width; batch b holds positions b·batch_size onwards."""
    batch_shapes: npt.NDArray[np.int64]
    """(batches, 2) height and width in pixels."""


def plan_rectangular(
    original_sizes_N2: npt.NDArray[np.int64], *, image_size: int, batch_size: int, stride: int, pad: float = PAD
) -> RectangularPlan:
    """Sort images (N, 2: height, width) into batches and choose every batch's shape."""
    aspect = original_sizes_N2[:, 0] / original_sizes_N2[:, 1]
    # Stable, so that every rank plans the same batches, whatever its processor.
    order = np.argsort(aspect, kind="stable")
    starts = range(0, len(order), batch_size)
    shapes = [_shape(aspect[order[start : start + batch_size]]) for start in starts]
    scaled = np.ceil(np.array(shapes).reshape(-1, 2) * image_size / stride + pad)
    return RectangularPlan(order, scaled.astype(np.int64) * stride)


def letterboxed_targets(targets_N5: Targets, plan: Letterbox) -> Targets:
    """Normalised boxes of an image as fractions of its letterboxed version, clipped."""
    height, width = plan.output
    pixels = xywhn_to_xyxy(targets_N5[:, 1:], width=plan.width, height=plan.height, pad_x=plan.pad_x, pad_y=plan.pad_y)
    boxes = xyxy_to_xywhn(pixels, width=width, height=height, clip_epsilon=CLIP_EPSILON)
    return np.column_stack([targets_N5[:, :1], boxes]).astype(np.float32)


def _shape(aspects: npt.NDArray[np.float64]) -> tuple[float, float]:
    """Height and width, the longer one 1, of the least shape that holds images of these aspects."""
    if aspects.max() < 1:
        return float(aspects.max()), 1.0
    if aspects.min() > 1:
        return 1.0, float(1 / aspects.min())
    return 1.0, 1.0
