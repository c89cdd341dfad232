"""Augmentation of training images: mosaic, random perspective, colour and flips, on pixels, boxes and outlines.

What is random is drawn first and the boxes are final at once, as a `LazySample`; its pixels are rendered afterwards,
here with OpenCV, or for a whole batch on a GPU (`gpu_augmentation.py`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from masktrain_trainer.config import Hyperparameters

from .geometry import BORDER, Boxes, Image, Matrix, Size, Targets, clip_boxes, xywhn_to_xyxy

# YOLOv5 v7.0's limits, like the share for outlines below: other ones would let a model learn other boxes.
SMALLEST_SIDE = 2.0
"""Pixels; narrower boxes are dropped."""
SMALLEST_BOX_SHARE = 0.1
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
        # The order of these eight is part of what a seed stands for: a resumed run has to draw them alike.
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
    source_N4: Boxes, warped_N4: Boxes, scale: float, smallest_share: float = SMALLEST_BOX_SHARE
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


Outline = npt.NDArray[np.floating]
"""(K, 2) corners x, y; none for an object that is labelled with a box."""

POINTS = 1000
"""An outline is followed in so many steps, or a corner outside the image would take its inside edges with it."""
SMALLEST_OUTLINE_SHARE = 0.01
"""Of the scaled area that has to stay inside; less than for boxes, which are mostly background at a rotation."""


def place_outlines(
    outlines: Iterable[Outline], *, width: float, height: float, pad_x: float, pad_y: float
) -> list[Outline]:
    """Normalised outlines in pixels of an image (`width`, `height`) that lies at (`pad_x`, `pad_y`)."""
    return [outline_K2 * (width, height) + (pad_x, pad_y) for outline_K2 in outlines]


def warp_outlines(outlines: Sequence[Outline], matrix: Matrix, output: Size) -> Boxes:
    """Upright boxes (N, 4: pixel corners) around what of the warped outlines lies in the output; zeros if nothing."""
    followed_NP2 = np.stack([_points_along(outline) for outline in outlines])
    warped_NP3 = np.concatenate([followed_NP2, np.ones((*followed_NP2.shape[:2], 1))], axis=2) @ matrix.T
    points_NP2 = warped_NP3[..., :2] / warped_NP3[..., 2:]
    inside_NP1 = np.all((points_NP2 >= 0) & (points_NP2 <= output[::-1]), axis=2, keepdims=True)
    low = np.where(inside_NP1, points_NP2, np.inf).min(axis=1)
    high = np.where(inside_NP1, points_NP2, -np.inf).max(axis=1)
    boxes_N4: Boxes = np.where(np.any(inside_NP1, axis=1), np.concatenate([low, high], axis=1), 0.0)
    return boxes_N4


def _points_along(outline_K2: Outline) -> Outline:
    """(POINTS, 2) along the closed outline, as many on each edge."""
    closed = np.concatenate([outline_K2, outline_K2[:1]])
    places = np.linspace(0, len(closed) - 1, POINTS)
    corners = np.arange(len(closed))
    return np.column_stack([np.interp(places, corners, closed[:, axis]) for axis in (0, 1)])


BILINEAR_MARGIN = 2
"""Pixels around the seen part that interpolation may touch."""
SMALLEST_DEPTH = 0.1
"""With a perspective closer to the horizon than this the whole canvas counts as seen."""


@dataclass(frozen=True)
class Region:
    """Pixels [left, right) × [top, bottom) of the canvas."""

    left: int
    top: int
    right: int
    bottom: int

    def common(self, other: Region) -> Region | None:
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Region(left, top, right, bottom) if right > left and bottom > top else None


@dataclass(frozen=True)
class Tile:
    """One image of a mosaic: where its top left corner lies on the canvas, and what of it the canvas shows."""

    x: int
    y: int
    region: Region


def draw_centre(rng: np.random.Generator, image_size: int) -> tuple[int, int]:
    """Centre (x, y), uniform over the middle half of the canvas in each axis."""
    x, y = rng.uniform(image_size / 2, image_size * 3 / 2, 2)
    return int(x), int(y)


def lay_tiles(sizes: Sequence[Size], centre: tuple[int, int], image_size: int) -> list[Tile]:
    """Place four images with a corner at `centre`: top left, top right, bottom left, bottom right."""
    (cx, cy), side = centre, 2 * image_size
    quarters = (Region(0, 0, cx, cy), Region(cx, 0, side, cy), Region(0, cy, cx, side), Region(cx, cy, side, side))
    tiles = []
    for index, ((height, width), quarter) in enumerate(zip(sizes, quarters, strict=True)):
        x = cx if index % 2 else cx - width
        y = cy if index >= 2 else cy - height
        region = quarter.common(Region(x, y, x + width, y + height))
        assert region is not None, "the centre never lies on the canvas's edge"
        tiles.append(Tile(x, y, region))
    return tiles


def paint_mosaic(images: Sequence[Image], tiles: Sequence[Tile], seen: Region) -> Image:
    """The `seen` part of the canvas (H, W, 3), grey where no image lies."""
    # Only what the warp will show, a quarter of the canvas where it neither zooms nor turns.
    canvas = np.full((seen.bottom - seen.top, seen.right - seen.left, 3), BORDER, np.uint8)
    for image, tile in zip(images, tiles, strict=True):
        part = tile.region.common(seen)
        if part is not None:
            target = canvas[
                part.top - seen.top : part.bottom - seen.top, part.left - seen.left : part.right - seen.left
            ]
            target[:] = image[part.top - tile.y : part.bottom - tile.y, part.left - tile.x : part.right - tile.x]
    return canvas


def mosaic_boxes(targets: Sequence[Targets], sizes: Sequence[Size], tiles: Sequence[Tile], image_size: int) -> Boxes:
    """All boxes (N, 5: class, pixel corners on the canvas), clipped to the canvas."""
    moved = [
        np.column_stack(
            [rows[:, 0], xywhn_to_xyxy(rows[:, 1:], width=width, height=height, pad_x=tile.x, pad_y=tile.y)]
        )
        for rows, (height, width), tile in zip(targets, sizes, tiles, strict=True)
    ]
    boxes = np.concatenate(moved)
    boxes[:, 1:] = clip_boxes(boxes[:, 1:], 2 * image_size, 2 * image_size)
    return boxes


def seen_region(matrix: Matrix, output: Size, canvas: Size) -> Region:
    """The part of the canvas that an image of `output` size shows through `matrix` (canvas to output)."""
    height, width = output
    corners = np.array([(0, 0, 1), (width, 0, 1), (0, height, 1), (width, height, 1)]) @ np.linalg.inv(matrix).T
    if corners[:, 2].min() < SMALLEST_DEPTH:
        return Region(0, 0, canvas[1], canvas[0])
    points = corners[:, :2] / corners[:, 2:]
    left, top = np.floor(points.min(axis=0)).astype(int) - BILINEAR_MARGIN
    right, bottom = np.ceil(points.max(axis=0)).astype(int) + BILINEAR_MARGIN
    seen = Region(int(left), int(top), int(right), int(bottom)).common(Region(0, 0, canvas[1], canvas[0]))
    # OpenCV takes no empty image, so one pixel stands for a canvas that is out of sight.
    return seen or Region(0, 0, 1, 1)


HUES = 180
"""OpenCV's 8-bit hue counts half degrees."""


def draw_gains(rng: np.random.Generator, hyperparameters: Hyperparameters) -> npt.NDArray[np.float64]:
    """Factors (3,) for hue, saturation and value."""
    spread = np.array([hyperparameters.hsv_hue, hyperparameters.hsv_saturation, hyperparameters.hsv_value])
    return np.asarray(1 + rng.uniform(-1, 1, 3) * spread, np.float64)


def apply_gains(image_HWC: Image, gains_3: npt.NDArray[np.float64]) -> Image:
    """A new image with hue, saturation and value multiplied; results are truncated, the hue wraps."""
    hsv = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2HSV)
    cv2.LUT(hsv, _tables(gains_3), dst=hsv)
    return np.asarray(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB, dst=hsv), np.uint8)


def _tables(gains_3: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """(1, 256, 3): one look-up for all three channels."""
    tables = np.arange(256)[:, None] * gains_3
    tables[:, 0] %= HUES
    return np.clip(tables, 0, 255).astype(np.uint8)[None]


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


@dataclass(frozen=True)
class Canvas:
    """Images laid side by side, and the matrix that carries their pixels to the sample."""

    pixels_HWC: Image
    matrix: Matrix


@dataclass(frozen=True)
class LazySample:
    canvases: tuple[Canvas, ...]
    """One, or two that are blended: mixup, arXiv 1710.09412."""
    share: float
    """Of the first canvas in the blend."""
    gains_3: npt.NDArray[np.float64] | None
    """Factors for hue, saturation and value; None leaves the colours alone."""
    upside_down: bool
    left_right: bool
    targets_N5: Targets


def render(sample: LazySample, output: Size) -> Image:
    """The pixels (H, W, 3) of the sample: warp, blend, recolour, mirror."""
    image, *others = [warp_image(canvas.pixels_HWC, canvas.matrix, output) for canvas in sample.canvases]
    for other in others:
        image = blend(image, other, sample.share)
    if sample.gains_3 is not None:
        image = apply_gains(image, sample.gains_3)
    return flip_image(image, vertical=sample.upside_down, horizontal=sample.left_right)


def blend(image_HWC: Image, other_HWC: Image, share: float) -> Image:
    """`share` of the first image, the rest of the other."""
    return np.asarray(cv2.addWeighted(image_HWC, share, other_HWC, 1 - share, 0), np.uint8)
