"""Compose a picture: a cluttered background, one to eight people, and the camera's faults."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .face import HEAD_HEIGHT, draw_person, head_outline
from .look import INCORRECT, MASK, NO_MASK, random_look
from .pen import Image, Pose

SUPERSAMPLING = 2
"""Scenes are drawn at this multiple of their size and shrunk, which smooths every edge."""
CLASS_SHARES = {INCORRECT: 0.25, MASK: 0.5, NO_MASK: 0.25}
LARGEST_COVERED_SHARE = 0.35
"""A face is moved when it would hide more than this of another one."""


@dataclass(frozen=True)
class LabelledFace:
    label: int
    box: tuple[float, float, float, float]
    """Centre x, centre y, width, height as fractions of the picture."""


def draw_scene(rng: np.random.Generator, size: int) -> tuple[Image, list[LabelledFace]]:
    """A square BGR picture (size, size, 3) and the faces in it."""
    side = size * SUPERSAMPLING
    canvas = background(rng, side)
    faces = []
    for pose in _poses(rng, side):
        label = int(rng.choice(list(CLASS_SHARES), p=list(CLASS_SHARES.values())))
        draw_person(canvas, pose, random_look(rng, label), rng)
        faces.append(LabelledFace(label, _box(pose, side)))
    return _camera(rng, cv2.resize(canvas, (size, size), interpolation=cv2.INTER_AREA).astype(np.uint8)), faces


def _poses(rng: np.random.Generator, side: int) -> list[Pose]:
    """Places of the people, far (small) ones first, none hidden too much by a nearer one."""
    crowd = rng.choice(3, p=[0.3, 0.45, 0.25])
    count, smallest, largest = ((1, 2), (2, 5), (5, 9))[crowd], (0.3, 0.16, 0.1)[crowd], (0.6, 0.36, 0.22)[crowd]
    widths = np.sort(rng.uniform(smallest, largest, rng.integers(*count, endpoint=crowd == 0)))
    poses: list[Pose] = []
    for width in widths * side:
        poses.extend(_free_pose(rng, side, width / 2, poses))
    return poses


def _free_pose(rng: np.random.Generator, side: int, half_width: float, others: list[Pose]) -> list[Pose]:
    """One pose at a place where it hides nobody too much, or none if twenty tries found no such place."""
    for _ in range(20):
        x = rng.uniform(half_width * 0.8, side - half_width * 0.8)
        y = rng.uniform(half_width * 1.25, side - half_width * 1.75)
        turn, yaw = np.radians(rng.normal(0, 11)), np.radians(np.clip(rng.normal(0, 22), -50, 50))
        pose = Pose(float(x), float(y), float(half_width), float(turn), float(yaw))
        if all(covered_share(other, pose) < LARGEST_COVERED_SHARE for other in others):
            return [pose]
    return []


def covered_share(far: Pose, near: Pose) -> float:
    """How much of the head of `far` the head and the shoulders of `near` hide (as upright boxes)."""
    head = _overlap(far, near, half_width=1.15, top=-1.5, bottom=1.6)
    shoulders = _overlap(far, near, half_width=1.9, top=1.6, bottom=4.2)
    return (head + shoulders) / (4 * HEAD_HEIGHT * far.half_width**2)


def _overlap(far: Pose, near: Pose, *, half_width: float, top: float, bottom: float) -> float:
    """Area that the head of `far` shares with a box in the face coordinates of `near`."""
    reach = near.half_width * half_width
    width = min(far.x + far.half_width, near.x + reach) - max(far.x - far.half_width, near.x - reach)
    far_reach = far.half_width * HEAD_HEIGHT
    height = min(far.y + far_reach, near.y + near.half_width * bottom) - max(
        far.y - far_reach, near.y + near.half_width * top
    )
    return max(0.0, width) * max(0.0, height)


def _box(pose: Pose, side: int) -> tuple[float, float, float, float]:
    outline = np.clip(head_outline(pose) / side, 0, 1)
    (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
    return float((x0 + x1) / 2), float((y0 + y1) / 2), float(x1 - x0), float(y1 - y0)


def background(rng: np.random.Generator, side: int) -> Image:
    """Rooms, streets, shelves, foliage: gradients, boxes, lamps and texture, out of focus by chance."""
    top, bottom = np.array(_colour(rng)), np.array(_colour(rng))
    ramp = np.linspace(0, 1, side)[:, None, None]
    canvas = np.ascontiguousarray(np.broadcast_to(top * (1 - ramp) + bottom * ramp, (side, side, 3)), dtype=np.uint8)
    clutter = (_shelves, _boxes, _blobs, _lines, _foliage)
    for index in rng.permutation(len(clutter))[: rng.integers(2, 5)]:
        clutter[index](rng, canvas)
    _decoys(rng, canvas)
    blur = int(rng.choice([0, 3, 7, 13]))
    if blur:
        canvas = np.asarray(cv2.GaussianBlur(canvas, (blur, blur), 0), np.uint8)
    coarse = rng.normal(0, rng.uniform(4, 16), (side // 8, side // 8, 3)).astype(np.float32)
    textured = canvas + np.asarray(cv2.resize(coarse, (side, side)))
    return np.clip(textured, 0, 255).astype(np.uint8)


def _point(rng: np.random.Generator, side: int) -> tuple[int, int]:
    x, y = rng.integers(-side // 10, side + side // 10, 2)
    return int(x), int(y)


def _colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """A colour of a room or street: mostly muted."""
    colour = rng.uniform(15, 240, 3)
    b, g, r = colour.mean() + (colour - colour.mean()) * rng.choice([0.25, 0.5, 0.9], p=[0.5, 0.35, 0.15])
    return float(b), float(g), float(r)


def _shelves(rng: np.random.Generator, canvas: Image) -> None:
    side = canvas.shape[0]
    for y in range(int(rng.uniform(0, side / 6)), side, int(rng.uniform(side / 7, side / 3))):
        x = 0
        while x < side:
            width, height = int(rng.uniform(side / 50, side / 12)), int(rng.uniform(side / 14, side / 7))
            cv2.rectangle(canvas, (x, y - height), (x + width, y), _colour(rng), -1)
            x += width + int(rng.uniform(0, side / 60))
        cv2.rectangle(canvas, (0, y), (side, y + side // 60), (40, 60, 80), -1)


def _boxes(rng: np.random.Generator, canvas: Image) -> None:
    for _ in range(rng.integers(4, 14)):
        corner, other = _point(rng, canvas.shape[0]), _point(rng, canvas.shape[0])
        cv2.rectangle(canvas, corner, other, _colour(rng), -1 if rng.random() < 0.6 else int(rng.integers(2, 12)))


def _blobs(rng: np.random.Generator, canvas: Image) -> None:
    side = canvas.shape[0]
    for _ in range(rng.integers(6, 30)):
        axes = (int(rng.uniform(4, side / 8)), int(rng.uniform(4, side / 8)))
        cv2.ellipse(canvas, _point(rng, side), axes, float(rng.uniform(0, 180)), 0, 360, _colour(rng), -1, cv2.LINE_AA)


def _lines(rng: np.random.Generator, canvas: Image) -> None:
    for _ in range(rng.integers(3, 12)):
        start, end = _point(rng, canvas.shape[0]), _point(rng, canvas.shape[0])
        cv2.line(canvas, start, end, _colour(rng), int(rng.integers(1, 10)), cv2.LINE_AA)


def _foliage(rng: np.random.Generator, canvas: Image) -> None:
    side = canvas.shape[0]
    low = int(rng.uniform(0.2, 0.8) * side)
    for _ in range(220):
        centre = int(rng.uniform(0, side)), int(rng.uniform(low * 0.6, side))
        green = (float(rng.uniform(20, 80)), float(rng.uniform(70, 170)), float(rng.uniform(30, 110)))
        cv2.ellipse(
            canvas,
            centre,
            (int(rng.uniform(4, 22)), int(rng.uniform(3, 10))),
            float(rng.uniform(0, 180)),
            0,
            360,
            green,
            -1,
        )


def _decoys(rng: np.random.Generator, canvas: Image) -> None:
    """Things that resemble a part of the answer: skin-coloured ovals without a face, mask-coloured cloths."""
    side = canvas.shape[0]
    for _ in range(rng.integers(0, 4)):
        radius = rng.uniform(side / 30, side / 9)
        skin = tuple(float(c) for c in np.array((120, 155, 205)) * rng.uniform(0.4, 1.15))
        axes = (int(radius), int(radius * rng.uniform(0.9, 1.4)))
        cv2.ellipse(canvas, _point(rng, side), axes, float(rng.uniform(0, 180)), 0, 360, skin, -1, cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        box = (
            _point(rng, side),
            (float(rng.uniform(20, side / 5)), float(rng.uniform(15, side / 8))),
            float(rng.uniform(0, 180)),
        )
        cv2.fillPoly(canvas, [cv2.boxPoints(box).astype(np.int32)], (225, 205, 165), cv2.LINE_AA)


def _camera(rng: np.random.Generator, picture: Image) -> Image:
    """Exposure, colour cast, vignette, blur and sensor noise."""
    size = picture.shape[0]
    gain = rng.uniform(0.62, 1.2) * rng.uniform(0.93, 1.07, 3)
    axis = np.linspace(-1, 1, size, dtype=np.float32)
    vignette = 1 - rng.uniform(0, 0.25) * (axis[:, None] ** 2 + axis[None] ** 2) / 2
    noise = rng.standard_normal((size, size, 1), dtype=np.float32) * rng.uniform(1, 8)
    exposed = picture * gain * vignette[..., None] + noise
    softness = int(rng.choice([1, 1, 3, 5]))
    blurred = cv2.GaussianBlur(exposed, (softness, softness), 0) if softness > 1 else exposed
    return np.clip(blurred, 0, 255).astype(np.uint8)
