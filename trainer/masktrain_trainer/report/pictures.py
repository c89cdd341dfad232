"""Pictures in a grid with their boxes: what is labelled, what the model found, and what training shows it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from masktrain_trainer.data.geometry import fit_long_side
from masktrain_trainer.data.source.pictures import UnreadablePicture, read_picture
from masktrain_trainer.predict.drawing import LabelledBox, Lettering, draw_boxes
from masktrain_trainer.predict.fonts import REGULAR

from .evaluation import EvaluatedPicture, PictureBox
from .plots import figure_text, save_jpeg, shortened

TILE = 400
"""Side of one picture in the grid, in pixels."""
GRID = 16
"""Most pictures of one grid, in rows of four."""
_BACKGROUND = (245, 245, 245)
_LONGEST_LABEL = 16
_LONGEST_CAPTION = 44


@dataclass(frozen=True)
class Tile:
    """A picture RGB with boxes in its own pixels, already shrunk to fit into a tile."""

    pixels: NDArray[np.uint8]
    boxes: Sequence[LabelledBox]
    caption: str


def draw_grid(tiles: Sequence[Tile], path: Path) -> None:
    """A JPEG with up to `GRID` pictures, as square as their number allows."""
    shown = tiles[:GRID]
    columns = math.ceil(math.sqrt(len(shown)))
    grid = Image.new("RGB", (columns * TILE, math.ceil(len(shown) / columns) * TILE), _BACKGROUND)
    for position, tile in enumerate(shown):
        row, column = divmod(position, columns)
        picture = Image.fromarray(draw_boxes(tile.pixels, tile.boxes))
        left, top = column * TILE + (TILE - picture.width) // 2, row * TILE + (TILE - picture.height) // 2
        grid.paste(picture, (left, top))
        _write_caption(grid, tile.caption, column * TILE, (row + 1) * TILE)
    save_jpeg(grid, path)


def evaluated_tiles(pictures: Sequence[EvaluatedPicture], names: Sequence[str]) -> list[tuple[Tile, Tile]]:
    """Each picture twice, with its labels and with what was found; read once, and none that cannot be read any more."""
    tiles = (_tiles(picture, names) for picture in pictures)
    return [pair for pair in tiles if pair is not None]


def labelled(
    class_index: int, xyxy: Sequence[float], names: Sequence[str], ratio: float, confidence: float | None = None
) -> LabelledBox:
    x1, y1, x2, y2 = (coordinate * ratio for coordinate in xyxy)
    text = shortened(names[class_index], _LONGEST_LABEL)
    return LabelledBox((x1, y1, x2, y2), class_index, text if confidence is None else f"{text} {confidence:.2f}")


def _tiles(picture: EvaluatedPicture, names: Sequence[str]) -> tuple[Tile, Tile] | None:
    original_HWC = read_picture(Path(picture.path))
    if isinstance(original_HWC, UnreadablePicture):
        return None
    # Boxes are in the original's pixels.
    ratio = TILE / max(original_HWC.shape[:2])
    pixels = fit_long_side(original_HWC, TILE, area_when_shrinking=True)
    caption = Path(picture.name).name

    def tile(boxes: Sequence[PictureBox]) -> Tile:
        return Tile(
            pixels, [labelled(box.class_index, box.xyxy, names, ratio, box.confidence) for box in boxes], caption
        )

    surest_on_top = sorted(picture.predictions, key=lambda box: box.confidence or 0.0)
    return tile(picture.labels), tile(surest_on_top)


def _write_caption(grid: Image.Image, caption: str, left: int, bottom: int) -> None:
    """The file's name along the tile's lower edge, where labels seldom are."""
    text = figure_text(caption, _LONGEST_CAPTION)
    lettering = Lettering.of(text, 11, REGULAR)
    canvas = ImageDraw.Draw(grid, "RGBA")
    canvas.rectangle((left, bottom - 17, left + lettering.width + 8, bottom), fill=(0, 0, 0, 150))
    lettering.draw(canvas, left + 4, bottom - 5, (255, 255, 255, 255))
