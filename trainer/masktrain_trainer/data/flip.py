"""Mirror an image and its boxes."""

from __future__ import annotations

import cv2
import numpy as np

from .arrays import Image, Targets

UPSIDE_DOWN, LEFT_RIGHT, BOTH = 0, 1, -1
"""OpenCV's flip codes."""


def flip(image_HWC: Image, targets_N5: Targets, *, vertical: bool, horizontal: bool) -> tuple[Image, Targets]:
    """Mirror image and normalised boxes; returns the inputs themselves when there is nothing to do."""
    if not (vertical or horizontal):
        return image_HWC, targets_N5
    code = BOTH if vertical and horizontal else UPSIDE_DOWN if vertical else LEFT_RIGHT
    mirrored = targets_N5.copy()
    if horizontal:
        mirrored[:, 1] = 1 - mirrored[:, 1]
    if vertical:
        mirrored[:, 2] = 1 - mirrored[:, 2]
    return np.asarray(cv2.flip(image_HWC, code), np.uint8), mirrored
