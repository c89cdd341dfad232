"""Box arithmetic on arrays: between formats, between images of different size, and back to the original."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .arrays import Boxes, Size

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


def letterbox_ratio_pad(network: Size, original: Size) -> tuple[float, float, float]:
    """Ratio, left and top padding of an image of `original` size centred in one of `network` size."""
    ratio = min(network[0] / original[0], network[1] / original[1])
    return ratio, (network[1] - original[1] * ratio) / 2, (network[0] - original[0] * ratio) / 2


def scale_boxes(
    boxes_N4: Floats, network: Size, original: Size, ratio_pad: tuple[float, float, float] | None = None
) -> Boxes:
    """Pixel corners in the network's input back to the original image, clipped.

    `ratio_pad` is (ratio, pad x, pad y) of the letterbox; without it, it is derived from the two sizes. One ratio
    serves both axes, as in YOLOv5.
    """
    ratio, pad_x, pad_y = ratio_pad or letterbox_ratio_pad(network, original)
    offset = np.array([pad_x, pad_y, pad_x, pad_y], np.float64)
    return clip_boxes((boxes_N4 - offset) / ratio, *original)
