"""Rectangular validation batches: images of like aspect share a batch whose shape pads them as little as possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .arrays import Targets
from .geometry import CLIP_EPSILON, xywhn_to_xyxy, xyxy_to_xywhn
from .letterbox import Letterbox

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
