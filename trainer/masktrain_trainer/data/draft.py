"""A sample before the work on its pixels: what is random about it is drawn, its boxes are final.

Either a loader process finishes it here, with OpenCV, or a GPU does: see `device_finish.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from .affine import warp_image
from .arrays import Image, Matrix, Size, Targets
from .color import apply_gains
from .flip import flip_image


@dataclass(frozen=True)
class Canvas:
    """Images laid side by side, and the matrix that carries their pixels to the sample."""

    pixels_HWC: Image
    matrix: Matrix


@dataclass(frozen=True)
class Draft:
    canvases: tuple[Canvas, ...]
    """One, or two that are blended: mixup, arXiv 1710.09412."""
    share: float
    """Of the first canvas in the blend."""
    gains_3: npt.NDArray[np.float64] | None
    """Factors for hue, saturation and value; None leaves the colours alone."""
    upside_down: bool
    left_right: bool
    targets_N5: Targets


def finish(draft: Draft, output: Size) -> Image:
    """The pixels (H, W, 3) of the sample: warp, blend, recolour, mirror."""
    image, *others = [warp_image(canvas.pixels_HWC, canvas.matrix, output) for canvas in draft.canvases]
    for other in others:
        image = blend(image, other, draft.share)
    if draft.gains_3 is not None:
        image = apply_gains(image, draft.gains_3)
    return flip_image(image, vertical=draft.upside_down, horizontal=draft.left_right)


def blend(image_HWC: Image, other_HWC: Image, share: float) -> Image:
    """`share` of the first image, the rest of the other."""
    return np.asarray(cv2.addWeighted(image_HWC, share, other_HWC, 1 - share, 0), np.uint8)
