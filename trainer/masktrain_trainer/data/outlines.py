"""Objects labelled with a polygon keep it through a warp: the box around the warped polygon is tighter than the one
around the warped corners of its box.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from .arrays import Boxes, Matrix, Size

Outline = npt.NDArray[np.floating]
"""(K, 2) corners x, y; none for an object that is labelled with a box."""

POINTS = 1000
"""An outline is followed in so many steps, or a corner outside the image would take its inside edges with it."""
SMALLEST_AREA_SHARE = 0.01
"""Of the scaled area that has to stay inside; less than for boxes, which are mostly background at a rotation."""


def place(outlines: Iterable[Outline], *, width: float, height: float, pad_x: float, pad_y: float) -> list[Outline]:
    """Normalised outlines in pixels of an image (`width`, `height`) that lies at (`pad_x`, `pad_y`)."""
    return [outline_K2 * (width, height) + (pad_x, pad_y) for outline_K2 in outlines]


def warp_outlines(outlines: Sequence[Outline], matrix: Matrix, output: Size) -> Boxes:
    """Upright boxes (N, 4: pixel corners) around what of the warped outlines lies in the output; zeros if nothing."""
    followed_NP2 = np.stack([_follow(outline) for outline in outlines])
    warped_NP3 = np.concatenate([followed_NP2, np.ones((*followed_NP2.shape[:2], 1))], axis=2) @ matrix.T
    points_NP2 = warped_NP3[..., :2] / warped_NP3[..., 2:]
    inside_NP1 = np.all((points_NP2 >= 0) & (points_NP2 <= output[::-1]), axis=2, keepdims=True)
    low = np.where(inside_NP1, points_NP2, np.inf).min(axis=1)
    high = np.where(inside_NP1, points_NP2, -np.inf).max(axis=1)
    boxes_N4: Boxes = np.where(np.any(inside_NP1, axis=1), np.concatenate([low, high], axis=1), 0.0)
    return boxes_N4


def _follow(outline_K2: Outline) -> Outline:
    """(POINTS, 2) along the closed outline, as many on each edge."""
    closed = np.concatenate([outline_K2, outline_K2[:1]])
    places = np.linspace(0, len(closed) - 1, POINTS)
    corners = np.arange(len(closed))
    return np.column_stack([np.interp(places, corners, closed[:, axis]) for axis in (0, 1)])
