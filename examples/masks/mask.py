"""Draw a mask: five kinds of it, worn rightly or in one of the wrong ways."""

from __future__ import annotations

import numpy as np

from .look import Look
from .pen import Image, Pose, darker, ellipse, fill, line, mirrored, smooth

EAR = (0.98, -0.02)
LOOP_COLOUR = (225.0, 226.0, 228.0)


def _mask_outline(look: Look) -> list[tuple[float, float]]:
    """Right half of the mask, from the middle of its upper edge to the middle of its lower edge."""
    halves: dict[str, list[tuple[float, float]]] = {
        "worn": [(0.0, 0.06), (0.3, 0.12), (0.86, 0.26), (0.92, 0.55), (0.8, 1.0), (0.42, 1.38), (0.0, 1.46)],
        "nose out": [(0.0, 0.6), (0.35, 0.56), (0.88, 0.44), (0.9, 0.75), (0.76, 1.1), (0.42, 1.44), (0.0, 1.52)],
        "mouth only": [(0.0, 0.56), (0.4, 0.54), (0.72, 0.52), (0.74, 0.8), (0.6, 1.06), (0.3, 1.12), (0.0, 1.14)],
        "under chin": [(0.0, 1.08), (0.4, 1.02), (0.84, 0.72), (0.86, 1.1), (0.62, 1.5), (0.3, 1.7), (0.0, 1.74)],
    }
    half = halves[look.mask_wear]
    if look.mask_style == "respirator" and look.mask_wear == "worn":
        half = [(0.0, -0.02), (0.26, 0.2), (0.74, 0.42), (0.84, 0.75), (0.62, 1.2), (0.3, 1.44), (0.0, 1.48)]
    return half


def draw_mask(canvas: Image, pose: Pose, look: Look, rng: np.random.Generator) -> None:
    if look.mask_wear == "one ear":
        _dangling_mask(canvas, pose, look)
        return
    half = _mask_outline(look)
    top, bottom = half[2], half[-3]
    for side in (-1, 1):
        for corner in (top, bottom):
            strap = pose.on_face(np.array([(side * corner[0] * 0.97, corner[1]), (side * EAR[0], EAR[1])]))
            line(canvas, strap, LOOP_COLOUR, pose.half_width * 0.035)
    outline = pose.on_face(smooth(mirrored(half), 3))
    fill(canvas, outline, look.mask)
    _mask_details(canvas, pose, look, half, rng)
    line(canvas, outline, darker(look.mask, 0.78), pose.half_width * 0.04, closed=True)


def _dangling_mask(canvas: Image, pose: Pose, look: Look) -> None:
    """A mask that hangs from one ear, beside the uncovered mouth."""
    side = 1 if pose.yaw <= 0 else -1
    cloth = [(0.62, 0.35), (1.08, 0.3), (1.16, 1.2), (0.98, 1.55), (0.68, 1.45)]
    outline = pose.place(smooth([(side * u, v) for u, v in cloth], 3))
    line(canvas, pose.place(np.array([(side * 0.8, 0.4), (side * 1.0, -0.05)])), LOOP_COLOUR, pose.half_width * 0.04)
    fill(canvas, outline, look.mask)
    for v in (0.65, 0.95, 1.22):
        fold = pose.place(np.array([(side * 0.7, v), (side * 1.1, v - 0.03)]))
        line(canvas, fold, darker(look.mask, 0.84), pose.half_width * 0.03)
    line(canvas, outline, darker(look.mask, 0.75), pose.half_width * 0.04, closed=True)


def _mask_details(
    canvas: Image, pose: Pose, look: Look, half: list[tuple[float, float]], rng: np.random.Generator
) -> None:
    top, bottom, wide = half[0][1], half[-1][1], max(u for u, _ in half)
    inner = darker(look.mask, 0.86)
    if look.mask_style == "surgical":
        for t in (0.3, 0.5, 0.7):
            v = top + t * (bottom - top)
            line(canvas, pose.on_face(ellipse(0, v - 0.05, wide * 0.82, 0.09, 20, 160)), inner, pose.half_width * 0.035)
    elif look.mask_style == "respirator":
        line(canvas, pose.on_face(np.array([(0.0, top + 0.05), (0.02, bottom - 0.05)])), inner, pose.half_width * 0.05)
        if look.mask_wear != "under chin":
            fill(canvas, pose.on_face(ellipse(0.34, (top + bottom) / 2 + 0.1, 0.15, 0.14)), darker(look.mask, 0.75))
    else:
        _pattern(canvas, pose, look, half, rng)


def _pattern(canvas: Image, pose: Pose, look: Look, half: list[tuple[float, float]], rng: np.random.Generator) -> None:
    """Seam, dots or stripes of a cloth mask."""
    top, bottom, wide = half[0][1], half[-1][1], max(u for u, _ in half)
    ink = (255 - look.mask[0], 255 - look.mask[1], 255 - look.mask[2])
    if look.mask_style == "dots":
        for u, v in rng.uniform((-wide * 0.7, top + 0.15), (wide * 0.7, bottom - 0.2), (14, 2)):
            fill(canvas, pose.on_face(ellipse(u, v, 0.05, 0.05)), ink)
    elif look.mask_style == "stripes":
        for v in np.linspace(top + 0.14, bottom - 0.16, 5):
            line(canvas, pose.on_face(np.array([(-wide * 0.7, v), (wide * 0.7, v)])), ink, pose.half_width * 0.05)
    else:
        seam = pose.on_face(np.array([(0.0, top + 0.03), (0.03, bottom - 0.03)]))
        line(canvas, seam, darker(look.mask, 0.82), pose.half_width * 0.03)
