"""Boxes and labels on pictures, readable on any background and at any picture size."""

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .fonts import BOLD, runs

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]

_GOLDEN_RATIO = 0.618034
_FARTHEST = 1 << 14
"""Pixels beyond a picture's edge at which a corner is drawn as if it were there: OpenCV counts in 16 bits."""


@dataclass(frozen=True)
class LabelledBox:
    """`xyxy` in pixels of the picture; `text` stands above the box, `class_index` chooses the colour."""

    xyxy: tuple[float, float, float, float]
    class_index: int
    text: str


@dataclass(frozen=True)
class BoxStyle:
    """line_thickness: in pixels; None follows the picture's size. Without labels there are no confidences either."""

    line_thickness: int | None = None
    labels: bool = True
    confidences: bool = True

    def text(self, name: str, confidence: float) -> str:
        """What stands above a box."""
        if not self.labels:
            return ""
        return f"{name} {confidence:.2f}" if self.confidences else name


def class_colour(index: int) -> Colour:
    """RGB. Hues a golden ratio apart never repeat and neighbouring classes differ most."""
    red, green, blue = colorsys.hsv_to_rgb((0.58 + index * _GOLDEN_RATIO) % 1.0, 0.85, 0.95)
    return round(red * 255), round(green * 255), round(blue * 255)


def draw_boxes(image_HWC: Pixels, boxes: Sequence[LabelledBox], style: BoxStyle = BoxStyle()) -> Pixels:
    """A copy of an RGB picture with the boxes on it; line and text sizes follow the picture's size.

    `boxes` have their texts already, of `style.text` for instance.
    """
    canvas = np.array(image_HWC, np.uint8, order="C")
    height, width = canvas.shape[:2]
    thickness = style.line_thickness or max(2, round((width + height) / 2 * 0.003))
    points = max(11, round((width + height) / 2 * 0.022))
    for box in boxes:
        _draw_frame(canvas, box, thickness)
    # After all boxes, so that no other one's line crosses a label.
    for box in boxes:
        if box.text:
            _draw_label(canvas, box, points)
    return canvas


def _draw_frame(canvas: Pixels, box: LabelledBox, thickness: int) -> None:
    """Four filled bars whose outer edges are the box's: a thick line of OpenCV would lie on both sides of it."""
    x1, y1, x2, y2 = _corners(box.xyxy, canvas.shape[1], canvas.shape[0])
    colour = class_colour(box.class_index)
    inner = thickness - 1
    bars = (
        ((x1, y1), (x2, min(y1 + inner, y2))),
        ((x1, max(y2 - inner, y1)), (x2, y2)),
        ((x1, y1), (min(x1 + inner, x2), y2)),
        ((max(x2 - inner, x1), y1), (x2, y2)),
    )
    for start, end in bars:
        cv2.rectangle(canvas, start, end, colour, cv2.FILLED)


def _corners(xyxy: tuple[float, float, float, float], width: int, height: int) -> tuple[int, int, int, int]:
    """In order, in whole pixels, and not much farther out than the picture."""
    x1, y1, x2, y2 = xyxy
    xs = [round(min(max(x, -_FARTHEST), width + _FARTHEST)) for x in (min(x1, x2), max(x1, x2))]
    ys = [round(min(max(y, -_FARTHEST), height + _FARTHEST)) for y in (min(y1, y2), max(y1, y2))]
    return xs[0], ys[0], xs[1], ys[1]


def _draw_label(canvas: Pixels, box: LabelledBox, points: int) -> None:
    """Above the box, or inside its top edge where the picture ends; shifted left at the right edge."""
    label = _label(box.text, points, class_colour(box.class_index))
    height, width = label.shape[:2]
    x = round(max(0.0, min(box.xyxy[0], canvas.shape[1] - width + 1)))
    # Its last row lies on the box's first one.
    y = round(box.xyxy[1] - height + 1 if box.xyxy[1] >= height - 1 else max(0.0, box.xyxy[1]))
    place = canvas[y : y + height, x : x + width]
    place[:] = label[: place.shape[0], : place.shape[1]]


@lru_cache(maxsize=1024)
def _label(text: str, points: int, colour: Colour) -> Pixels:
    """A text on its colour. The same few come in every frame of a video, and letters are what takes longest."""
    lettering = Lettering.of(text, points)
    width, height = math.ceil(lettering.width) + 7, lettering.ascent + lettering.descent + 3
    picture = Image.new("RGB", (width, height), colour)
    lettering.draw(ImageDraw.Draw(picture), 3, 1 + lettering.ascent, _text_colour(colour))
    return np.asarray(picture)


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


@lru_cache(maxsize=16)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(path), size)
