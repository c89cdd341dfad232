"""Boxes and labels on pictures, readable on any background and at any picture size."""

import colorsys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .fonts import BOLD, runs

Colour = tuple[int, int, int]

_GOLDEN_RATIO = 0.618034


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
    height = max(11, round(sum(picture.size) / 2 * 0.022))
    for box in boxes:
        canvas.rectangle(_ordered(box.xyxy), outline=class_colour(box.class_index), width=thickness)
    # After all boxes, so that no other one's line crosses a label.
    for box in boxes:
        _draw_label(canvas, box, height, picture.size)
    return np.asarray(picture)


def _draw_label(canvas: ImageDraw.ImageDraw, box: LabelledBox, points: int, size: tuple[int, int]) -> None:
    """Above the box, or inside its top edge where the picture ends; shifted left at the right edge."""
    if not box.text:
        return
    colour = class_colour(box.class_index)
    lettering = Lettering.of(box.text, points)
    width, height = lettering.width + 6, lettering.ascent + lettering.descent + 2
    x = max(0.0, min(box.xyxy[0], size[0] - width))
    y = box.xyxy[1] - height if box.xyxy[1] >= height else max(0.0, box.xyxy[1])
    canvas.rectangle((x, y, x + width, y + height), fill=colour)
    lettering.draw(canvas, x + 3, y + 1 + lettering.ascent, _text_colour(colour))


@dataclass(frozen=True)
class Lettering:
    """A text in as many fonts as it takes; sizes in pixels."""

    parts: Sequence[tuple[str, ImageFont.FreeTypeFont]]

    @classmethod
    def of(cls, text: str, points: int, own: Path = BOLD) -> "Lettering":
        """Letters that no font has are drawn as the empty box of the font `own`."""
        return cls([(part, _font(font, points)) for font, part in runs(text, own) or [(own, text)]])

    @property
    def width(self) -> float:
        return sum(font.getlength(text) for text, font in self.parts)

    @property
    def ascent(self) -> int:
        return max(font.getmetrics()[0] for _, font in self.parts)

    @property
    def descent(self) -> int:
        return max(font.getmetrics()[1] for _, font in self.parts)

    def draw(self, canvas: ImageDraw.ImageDraw, left: float, baseline: float, fill: tuple[int, ...]) -> None:
        # By the baseline, on which fonts of different heights stand together.
        for text, font in self.parts:
            canvas.text((left, baseline), text, fill=fill, font=font, anchor="ls")
            left += font.getlength(text)


def _text_colour(background: Colour) -> Colour:
    """Black on light colours, white on dark ones (luma of ITU-R BT.601)."""
    red, green, blue = background
    return (0, 0, 0) if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else (255, 255, 255)


def _ordered(xyxy: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    # PIL refuses corners that are swapped.
    x1, y1, x2, y2 = xyxy
    return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)


@lru_cache(maxsize=16)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)
