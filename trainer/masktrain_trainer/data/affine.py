"""Random perspective: one matrix for pixels and boxes, and the rule for boxes that are worth keeping."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from masktrain_trainer.config import Hyperparameters

from .arrays import BORDER, Boxes, Image, Matrix, Size
from .geometry import clip_boxes

SMALLEST_SIDE = 2.0
"""Pixels; narrower boxes are dropped."""
SMALLEST_AREA_SHARE = 0.1
"""Boxes that kept less of their scaled area inside the image are dropped."""
LARGEST_ASPECT = 100.0
EPSILON = 1e-16


@dataclass(frozen=True)
class Warp:
    """Parameters of a random perspective."""

    perspective_x: float = 0.0
    perspective_y: float = 0.0
    angle: float = 0.0
    """Degrees, counter-clockwise as seen."""
    scale: float = 1.0
    shear_x: float = 0.0
    shear_y: float = 0.0
    """Degrees."""
    translate_x: float = 0.5
    translate_y: float = 0.5
    """Where the centre of the source comes to lie, as a fraction of the output."""

    @classmethod
    def draw(cls, rng: np.random.Generator, hyperparameters: Hyperparameters) -> Warp:
        """Draw all parameters uniformly from the ranges of `hyperparameters`."""
        h = hyperparameters
        spread = np.array(
            [h.perspective, h.perspective, h.degrees, h.scale, h.shear, h.shear, h.translate, h.translate]
        )
        middle = np.array([0, 0, 0, 1, 0, 0, 0.5, 0.5])
        return cls(*(middle + spread * rng.uniform(-1, 1, 8)).tolist())


def warp_matrix(warp: Warp, source: Size, output: Size) -> Matrix:
    """Matrix from source to output pixels: centre first, then perspective, rotation and scale, shear, translation."""
    centre, perspective, shear, translation = np.eye(3), np.eye(3), np.eye(3), np.eye(3)
    centre[:2, 2] = -source[1] / 2, -source[0] / 2
    perspective[2, :2] = warp.perspective_x, warp.perspective_y
    cos, sin = (warp.scale * f(math.radians(warp.angle)) for f in (math.cos, math.sin))
    rotation = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
    shear[0, 1], shear[1, 0] = math.tan(math.radians(warp.shear_x)), math.tan(math.radians(warp.shear_y))
    translation[:2, 2] = warp.translate_x * output[1], warp.translate_y * output[0]
    matrix: Matrix = translation @ shear @ rotation @ perspective @ centre
    return matrix


def warp_image(image_HWC: Image, matrix: Matrix, output: Size) -> Image:
    """Carry an image (H, W, 3) through `matrix`, bilinearly, grey outside."""
    border = (BORDER,) * 4
    # OpenCV warps four channels in less than half the time of three, to the same pixels.
    image_HW4 = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2RGBA)
    if np.any(matrix[2, :2]):
        warped_HW4 = cv2.warpPerspective(image_HW4, matrix, output[::-1], borderValue=border)
    else:
        warped_HW4 = cv2.warpAffine(image_HW4, matrix[:2], output[::-1], borderValue=border)
    return np.asarray(cv2.cvtColor(warped_HW4, cv2.COLOR_RGBA2RGB), np.uint8)


def warp_boxes(boxes_N4: Boxes, matrix: Matrix, output: Size) -> Boxes:
    """Upright boxes (pixel corners) around the four warped corners of each box, clipped to the output."""
    corners = np.ones((len(boxes_N4), 4, 3))
    corners[..., :2] = boxes_N4[:, [[0, 1], [2, 3], [0, 3], [2, 1]]]
    warped = corners @ matrix.T
    points = warped[..., :2] / warped[..., 2:] if np.any(matrix[2, :2]) else warped[..., :2]
    return clip_boxes(np.concatenate([points.min(axis=1), points.max(axis=1)], axis=1), *output)


def worth_keeping(
    source_N4: Boxes, warped_N4: Boxes, scale: float, smallest_share: float = SMALLEST_AREA_SHARE
) -> npt.NDArray[np.bool_]:
    """Which warped boxes (pixel corners) still show their object; `source_N4` before the warp with that `scale`."""
    source, sides = (source_N4[:, 2:] - source_N4[:, :2]) * scale, warped_N4[:, 2:] - warped_N4[:, :2]
    width, height = sides[:, 0], sides[:, 1]
    aspect = np.maximum(width / (height + EPSILON), height / (width + EPSILON))
    share = width * height / (source[:, 0] * source[:, 1] + EPSILON)
    kept: npt.NDArray[np.bool_] = (
        (width > SMALLEST_SIDE) & (height > SMALLEST_SIDE) & (share > smallest_share) & (aspect < LARGEST_ASPECT)
    )
    return kept
