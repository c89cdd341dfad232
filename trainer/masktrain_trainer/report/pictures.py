"""Validation pictures side by side: what is labelled and what the model found."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from masktrain_trainer.detect.draw import LabelledBox, draw_boxes

from .evaluation import EvaluatedPicture, PictureBox

TILE = 480
"""Side of one picture in the grid, in pixels."""
_COLUMNS = 4
_BACKGROUND = 245


def draw_grid(pictures: Sequence[EvaluatedPicture], names: Sequence[str], path: Path, *, labels: bool) -> None:
    """A JPEG with up to 16 pictures, in rows of four; `labels` shows the truth, else the predictions."""
    tiles = [_tile(picture, names, labels=labels) for picture in pictures[: _COLUMNS * 4]]
    rows = [tiles[start : start + _COLUMNS] for start in range(0, len(tiles), _COLUMNS)]
    columns = len(rows[0])
    grid = np.full((len(rows) * TILE, columns * TILE, 3), _BACKGROUND, dtype=np.uint8)
    for row, line in enumerate(rows):
        for column, tile in enumerate(line):
            grid[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE] = tile
    Image.fromarray(grid).save(path, quality=88)


def _tile(picture: EvaluatedPicture, names: Sequence[str], *, labels: bool) -> NDArray[np.uint8]:
    """(TILE, TILE, 3), the picture centred; boxes are drawn after shrinking so that lines stay equally thick."""
    with Image.open(picture.path) as file:
        upright = ImageOps.exif_transpose(file).convert("RGB")
    ratio = TILE / max(upright.size)
    size = (max(1, round(upright.width * ratio)), max(1, round(upright.height * ratio)))
    chosen = picture.labels if labels else picture.predictions
    boxes = [_scaled(box, names, ratio) for box in chosen]
    drawn = draw_boxes(np.asarray(upright.resize(size)), boxes)
    tile = np.full((TILE, TILE, 3), _BACKGROUND, dtype=np.uint8)
    top, left = (TILE - size[1]) // 2, (TILE - size[0]) // 2
    tile[top : top + size[1], left : left + size[0]] = drawn
    return tile


def _scaled(box: PictureBox, names: Sequence[str], ratio: float) -> LabelledBox:
    x1, y1, x2, y2 = (coordinate * ratio for coordinate in box.xyxy)
    confidence = "" if box.confidence is None else f" {box.confidence:.2f}"
    return LabelledBox((x1, y1, x2, y2), box.class_index, names[box.class_index] + confidence)
