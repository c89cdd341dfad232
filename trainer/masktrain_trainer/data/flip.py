"""Mirror an image and its boxes."""

from __future__ import annotations

import cv2
import numpy as np

from .arrays import Image, Targets

UPSIDE_DOWN, LEFT_RIGHT, BOTH = 0, 1, -1
"""OpenCV's flip codes."""


def flip_image(image_HWC: Image, *, vertical: bool, horizontal: bool) -> Image:
    """The mirrored image; the very same if there is nothing to do."""
    if not (vertical or horizontal):
        return image_HWC
    code = BOTH if vertical and horizontal else UPSIDE_DOWN if vertical else LEFT_RIGHT
    return np.asarray(cv2.flip(image_HWC, code), np.uint8)


def flip_targets(targets_N5: Targets, *, vertical: bool, horizontal: bool) -> Targets:
    """The mirrored targets, a copy if there is anything to do."""
    if not (vertical or horizontal):
        return targets_N5
    mirrored = targets_N5.copy()
    if horizontal:
        mirrored[:, 1] = 1 - mirrored[:, 1]
    if vertical:
        mirrored[:, 2] = 1 - mirrored[:, 2]
    return mirrored
