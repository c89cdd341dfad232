"""Boxes and labels on pictures, readable on any background and at any picture size."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Colour = tuple[int, int, int]

_GOLDEN_RATIO = 0.618034
_FONT = "fonts/ttf/DejaVuSans-Bold.ttf"
"""matplotlib's own font: it knows far more scripts than OpenCV's, and every trainer image has it."""


@dataclass(frozen=True)
class LabelledBox:
    """`xyxy` in pixels of the picture; `text` stands above the box, `class_index` chooses the colour."""

    xyxy: tuple[float, float, float, float]
    class_index: int
    text: str


def class_colour(index: int) -> Colour:
    """RGB. Hues a golden ratio apart never repeat and neighbouring classes differ most."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN_RATIO) % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(image_HWC: NDArray[np.uint8], boxes: Sequence[LabelledBox]) -> NDArray[np.uint8]:
    """A copy of an RGB picture with the boxes on it; line and text sizes follow the picture's size."""
    picture = Image.fromarray(image_HWC)
    canvas = ImageDraw.Draw(picture)
    thickness = max(2, round(sum(picture.size) / 2 * 0.003))
    font = _font(max(11, round(sum(picture.size) / 2 * 0.022)))
    for box in boxes:
        canvas.rectangle(_ordered(box.xyxy), outline=class_colour(box.class_index), width=thickness)
    # After all boxes, so that no other one's line crosses a label.
    for box in boxes:
        _draw_label(canvas, box, font, picture.size)
    return np.asarray(picture)


def _draw_label(
    canvas: ImageDraw.ImageDraw, box: LabelledBox, font: ImageFont.FreeTypeFont, size: tuple[int, int]
) -> None:
    """Above the box, or inside its top edge where the picture ends; shifted left at the right edge."""
    if not box.text:
        return
    colour = class_colour(box.class_index)
    left, top, right, bottom = canvas.textbbox((0, 0), box.text, font=font)
    width, height = right - left + 6, bottom - top + 6
    x = max(0.0, min(box.xyxy[0], size[0] - width))
    y = box.xyxy[1] - height if box.xyxy[1] >= height else max(0.0, box.xyxy[1])
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    canvas.text((x + 3 - left, y + 3 - top), box.text, fill=_text_colour(colour), font=font)


def _text_colour(background: Colour) -> Colour:
    """Black on light colours, white on dark ones (luma of ITU-R BT.601)."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _ordered(xyxy: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    # PIL refuses corners that are swapped.
    x1, y1, x2, y2 = xyxy
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / _FONT), size)
