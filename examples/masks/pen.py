"""Shapes in face coordinates, and how they get onto a canvas.

The origin is the middle of the head, u points to the right and v down; the head is 2 wide (u from -1 to 1) and
about 2.6 high.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Image = npt.NDArray[np.uint8]
Points = npt.NDArray[np.float64]
"""(N, 2)."""
Colour = tuple[float, float, float]
"""Blue, green, red; 0 to 255."""

SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Pose:
    x: float
    y: float
    half_width: float
    """Of the head, in canvas pixels."""
    angle: float
    """Radians, clockwise as seen."""
    yaw: float
    """Radians to the side; the head is a sphere for this."""

    def place(self, points: Sequence[tuple[float, float]] | Points) -> Points:
        """Carry face coordinates (N, 2) onto the canvas, flat."""
        cos, sin = np.cos(self.angle) * self.half_width, np.sin(self.angle) * self.half_width
        placed: Points = np.asarray(points, dtype=float) @ np.array([[cos, sin], [-sin, cos]]) + (self.x, self.y)
        return placed

    def on_face(self, points: Sequence[tuple[float, float]] | Points) -> Points:
        """Carry points that lie on the turned front of the head onto the canvas."""
        turned = np.array(points, dtype=float)
        turned[:, 0] = np.sin(np.arcsin(np.clip(turned[:, 0], -1, 1)) * 0.9 + self.yaw) / np.sin(np.pi / 2 * 0.9)
        return self.place(turned)


def darker(colour: Colour, factor: float) -> Colour:
    b, g, r = (float(np.clip(c * factor, 0, 255)) for c in colour)
    return b, g, r


def smooth(points: Sequence[tuple[float, float]], rounds: int = 3) -> Points:
    """Round the corners of a closed polygon (Chaikin's corner cutting)."""
    outline = np.asarray(points, dtype=float)
    for _ in range(rounds):
        after = np.roll(outline, -1, axis=0)
        outline = np.stack([0.75 * outline + 0.25 * after, 0.25 * outline + 0.75 * after], axis=1).reshape(-1, 2)
    return outline


def mirrored(right_half: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A closed outline from its right half, listed from top to bottom."""
    return [*right_half, *((-u, v) for u, v in reversed(right_half))]


def ellipse(u: float, v: float, a: float, b: float, *degrees: float) -> Points:
    """Outline of an ellipse, or of its arc between two angles in degrees."""
    start, stop = degrees or (0, 360)
    t = np.radians(np.linspace(start, stop, 28))
    return np.stack([u + a * np.cos(t), v + b * np.sin(t)], axis=1)


def _fixed(points: Points) -> npt.NDArray[np.int32]:
    return np.rint(points * (1 << SUBPIXEL_BITS)).astype(np.int32)


def fill(canvas: Image, points: Points, colour: Colour) -> None:
    cv2.fillPoly(canvas, [_fixed(points)], colour, cv2.LINE_AA, SUBPIXEL_BITS)


def line(canvas: Image, points: Points, colour: Colour, width: float, *, closed: bool = False) -> None:
    cv2.polylines(canvas, [_fixed(points)], closed, colour, max(1, round(width)), cv2.LINE_AA, SUBPIXEL_BITS)
