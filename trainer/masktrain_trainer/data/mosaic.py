"""Four images around a random centre on a canvas of twice the training size.

The warp that follows looks at a part of the canvas only, so only that part is ever painted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .arrays import BORDER, Boxes, Image, Matrix, Size, Targets
from .geometry import clip_boxes, xywhn_to_xyxy

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


def paint(images: Sequence[Image], tiles: Sequence[Tile], seen: Region) -> Image:
    """The `seen` part of the canvas (H, W, 3), grey where no image lies."""
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
    return seen or Region(0, 0, 1, 1)
