"""Draw one person: shoulders, head, hair and features, then the mask and the light on all of it."""

from __future__ import annotations

import numpy as np

from .look import Look
from .mask import draw_mask
from .pen import Image, Points, Pose, darker, ellipse, fill, line, mirrored, smooth

HEAD_HEIGHT = 1.3


def draw_person(canvas: Image, pose: Pose, look: Look, rng: np.random.Generator) -> None:
    """Draw head, shoulders and mask onto `canvas` (H, W, 3)."""
    _shoulders(canvas, pose, look)
    _hair_behind(canvas, pose, look)
    _head(canvas, pose, look)
    _features(canvas, pose, look)
    if look.beard:
        _beard(canvas, pose, look)
    _mouth(canvas, pose, look)
    _hair_in_front(canvas, pose, look)
    if look.glasses:
        _glasses(canvas, pose)
    if look.mask_wear != "none":
        draw_mask(canvas, pose, look, rng)
    _shade(canvas, pose, look)


def head_outline(pose: Pose) -> Points:
    """Outline (N, 2) of the bare head on the canvas: what a box is drawn around."""
    return pose.place(_head_points())


def _head_points() -> Points:
    jaw = [(0.0, -1.3), (0.62, -1.26), (0.98, -0.7), (1.0, -0.1), (0.95, 0.45), (0.78, 0.95), (0.42, 1.3), (0.0, 1.36)]
    return smooth(mirrored(jaw), 3)


def _shoulders(canvas: Image, pose: Pose, look: Look) -> None:
    upright = Pose(pose.x, pose.y, pose.half_width, pose.angle * 0.4, 0)
    body = mirrored([(0.3, 1.35), (0.95, 1.75), (1.75, 2.05), (2.15, 3.0), (2.2, 4.2)])
    fill(canvas, upright.place(smooth(body, 2)), look.clothes)
    neck = mirrored([(0.5, 0.6), (0.5, 1.7), (0.25, 1.98)])
    fill(canvas, upright.place(smooth(neck, 2)), darker(look.skin, 0.78))


def _hair_behind(canvas: Image, pose: Pose, look: Look) -> None:
    outlines: dict[str, Points] = {
        "long": smooth(mirrored([(0.0, -1.55), (0.9, -1.4), (1.25, -0.6), (1.25, 0.8), (1.2, 1.8), (0.7, 1.9)])),
        "afro": ellipse(0, -0.55, 1.5, 1.35),
        "bun": ellipse(0.15, -1.6, 0.45, 0.42),
        "scarf": smooth(mirrored([(0.0, -1.6), (0.95, -1.45), (1.28, -0.5), (1.22, 0.8), (0.9, 1.9), (0.3, 2.2)])),
    }
    if look.hairstyle in outlines:
        fill(canvas, pose.place(outlines[look.hairstyle]), darker(look.hair, 0.85))


def _head(canvas: Image, pose: Pose, look: Look) -> None:
    if look.hairstyle != "scarf":
        for side in (-1, 1):
            fill(canvas, pose.place(ellipse(side * 1.0 - 0.1 * pose.yaw, 0.0, 0.14, 0.26)), darker(look.skin, 0.85))
    fill(canvas, head_outline(pose), look.skin)


def _features(canvas: Image, pose: Pose, look: Look) -> None:
    brow = darker(look.hair, 0.8) if look.hairstyle not in ("scarf", "bald") else (40.0, 44.0, 56.0)
    for side in (-1, 1):
        u = side * 0.42
        fill(canvas, pose.on_face(ellipse(u, -0.14, 0.25, 0.17)), darker(look.skin, 0.86))
        if look.eyes_closed:
            line(canvas, pose.on_face(ellipse(u, -0.14, 0.19, 0.07, 0, 180)), (40, 40, 50), pose.half_width * 0.045)
        else:
            _eye(canvas, pose, u)
        line(canvas, pose.on_face(ellipse(u, -0.34, 0.25, 0.11, 200, 340)), brow, pose.half_width * 0.085)
    shadow = darker(look.skin, 0.74)
    fill(
        canvas,
        pose.on_face(smooth([(-0.06, -0.05), (0.06, -0.05), (0.2, 0.4), (0.0, 0.5), (-0.2, 0.4)], 2)),
        darker(look.skin, 0.91),
    )
    line(canvas, pose.on_face(ellipse(0, 0.38, 0.19, 0.1, 15, 165)), shadow, pose.half_width * 0.055)
    for side in (-1, 1):
        fill(canvas, pose.on_face(ellipse(side * 0.09, 0.43, 0.05, 0.03)), darker(look.skin, 0.45))


def _eye(canvas: Image, pose: Pose, u: float) -> None:
    fill(canvas, pose.on_face(ellipse(u, -0.13, 0.19, 0.1)), (236, 238, 240))
    fill(canvas, pose.on_face(ellipse(u + 0.2 * pose.yaw, -0.13, 0.085, 0.095)), (52, 50, 58))
    fill(canvas, pose.on_face(ellipse(u + 0.2 * pose.yaw + 0.03, -0.17, 0.025, 0.025)), (240, 240, 240))
    line(canvas, pose.on_face(ellipse(u, -0.12, 0.2, 0.12, 195, 345)), (34, 34, 42), pose.half_width * 0.04)


def _mouth(canvas: Image, pose: Pose, look: Look) -> None:
    lip = darker((look.skin[0] * 0.8, look.skin[1] * 0.72, look.skin[2]), 0.88)
    corners = [
        (-0.34, 0.76 - look.smile),
        (0.0, 0.72),
        (0.34, 0.76 - look.smile),
        (0.2, 0.88),
        (0.0, 0.92),
        (-0.2, 0.88),
    ]
    fill(canvas, pose.on_face(smooth(corners, 2)), lip)
    parting = np.array([(-0.3, 0.78 - look.smile), (0.0, 0.81), (0.3, 0.78 - look.smile)])
    line(canvas, pose.on_face(parting), darker(lip, 0.5), pose.half_width * 0.035)


def _beard(canvas: Image, pose: Pose, look: Look) -> None:
    right = [(0.0, 0.6), (0.5, 0.62), (0.93, 0.2), (0.93, 0.6), (0.75, 1.08), (0.4, 1.42), (0.0, 1.48)]
    fill(canvas, pose.on_face(smooth(mirrored(right), 2)), darker(look.hair, 0.95))


def _hair_in_front(canvas: Image, pose: Pose, look: Look) -> None:
    crown = [(0.0, -1.5), (0.72, -1.42), (1.1, -0.85), (1.06, -0.15)]
    if look.hairstyle in ("short", "bun", "long", "afro"):
        part = 0.25 * np.sign(pose.yaw or 1)
        fringe = [(0.92, -0.35), (0.78, -0.72), (part, -0.86), (-0.78, -0.72), (-0.92, -0.35)]
        outline = [*crown, *fringe, *((-u, v) for u, v in reversed(crown))]
        fill(canvas, pose.place(smooth(outline, 2)), look.hair)
    elif look.hairstyle in ("cap", "beanie"):
        low = -0.62 if look.hairstyle == "cap" else -0.52
        dome = mirrored([(0.0, -1.58), (0.75, -1.48), (1.12, -0.95), (1.08, low)])
        fill(canvas, pose.place(smooth(dome, 2)), look.clothes)
        brim = ellipse(0.5 * pose.yaw, low, 1.05, 0.2 if look.hairstyle == "cap" else 0.12)
        fill(canvas, pose.place(brim), darker(look.clothes, 0.7))
    elif look.hairstyle == "scarf":
        line(canvas, pose.place(_head_points()), look.hair, pose.half_width * 0.3, closed=True)
        fill(canvas, pose.place(smooth(mirrored([(0.0, -1.5), (0.75, -1.4), (1.0, -0.7), (0.0, -0.85)]), 2)), look.hair)


def _glasses(canvas: Image, pose: Pose) -> None:
    for side in (-1, 1):
        line(
            canvas,
            pose.on_face(ellipse(side * 0.42, -0.12, 0.28, 0.23)),
            (30, 30, 34),
            pose.half_width * 0.06,
            closed=True,
        )
    line(canvas, pose.on_face(np.array([(-0.14, -0.14), (0.14, -0.14)])), (30, 30, 34), pose.half_width * 0.06)


def _shade(canvas: Image, pose: Pose, look: Look) -> None:
    """Light from one side and darker edges: multiplies the pixels of the head by a smooth field."""
    reach = pose.half_width * 1.9
    x0, y0 = (max(0, int(c - reach)) for c in (pose.x, pose.y))
    x1, y1 = min(canvas.shape[1], int(pose.x + reach)), min(canvas.shape[0], int(pose.y + reach))
    if x1 <= x0 or y1 <= y0:
        return
    dy, dx = np.mgrid[y0:y1, x0:x1].astype(np.float32)
    dx, dy = (dx - pose.x) / pose.half_width, (dy - pose.y) / pose.half_width
    cos, sin = np.float32(np.cos(pose.angle)), np.float32(np.sin(pose.angle))
    u, v = cos * dx + sin * dy, cos * dy - sin * dx
    distance = u * u + (v / HEAD_HEIGHT) ** 2
    inside = np.clip((1.35 - distance) / 0.3, 0, 1)
    field = 1 + look.light[0] * u + look.light[1] * v - 0.16 * distance + 0.08
    gain = 1 + inside * (field - 1)
    region = canvas[y0:y1, x0:x1]
    region[:] = np.clip(region * gain[..., None], 0, 255).astype(np.uint8)
