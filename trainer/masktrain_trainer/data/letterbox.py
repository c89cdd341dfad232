"""Fit an image into a shape without distorting it: scale, then pad both sides evenly with grey."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .arrays import BORDER, Image, Size


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
    height, width = round(source[0] * ratio), round(source[1] * ratio)
    pad_y, pad_x = float(target[0] - height), float(target[1] - width)
    if stride is not None:
        pad_y, pad_x = pad_y % stride, pad_x % stride
    pad_y, pad_x = pad_y / 2, pad_x / 2
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
    size = max(int(width * ratio), 1), max(int(height * ratio), 1)
    return np.asarray(cv2.resize(image_HWC, size, interpolation=interpolation), np.uint8)
