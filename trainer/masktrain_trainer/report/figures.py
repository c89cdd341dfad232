"""How all figures look and are saved, and class and file names as they can show them.

Files are small and replaced whole. Whatever people call their classes, nothing overflows and nothing is garbled: the
HTML report shows names as they are, but figures have one font, and it does not know every script.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.legend import Legend
from PIL import Image

from masktrain_trainer.files import finished_whole

_FONTS = Path(mpl.get_data_path()) / "fonts" / "ttf"
FIGURE_FONT = _FONTS / "DejaVuSans.ttf"
_LABEL_FONT = _FONTS / "DejaVuSans-Bold.ttf"
_RIGHT_TO_LEFT = {"R", "AL", "AN"}
LONGEST_NAME = 24


def figure_names(names: Sequence[str]) -> list[str]:
    """One for each class: its name, shortened; `class 3` where the font lacks a character, or letters run to the left
    or change their form, which figures do not do.
    """
    return [_figure_name(index, " ".join(name.split())) for index, name in enumerate(names)]


def figure_text(text: str, length: int) -> str:
    """At most `length` characters, with a question mark for what the font lacks."""
    return shortened("".join(letter if _is_drawn(letter) else "?" for letter in " ".join(text.split())), length)


def shortened(text: str, length: int = LONGEST_NAME) -> str:
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def _figure_name(index: int, name: str) -> str:
    return shortened(name) if name and all(map(_is_drawn, name)) else f"class {index}"


def _is_drawn(letter: str) -> bool:
    return (
        ord(letter) in _letters() and letter.isprintable() and unicodedata.bidirectional(letter) not in _RIGHT_TO_LEFT
    )


@cache
def _letters() -> frozenset[int]:
    """What both fonts have: plots are lettered with the one, boxes with the other."""
    return frozenset(FT2Font(FIGURE_FONT).get_charmap()) & frozenset(FT2Font(_LABEL_FONT).get_charmap())


DPI = 110
BLUE, ORANGE, GREY = "#2563eb", "#ea580c", "#94a3b8"
MOST_TICKS = 100
"""More class names than that beside each other cannot be read: every second, third … is shown."""


def save_figure(figure: Figure, path: Path) -> None:
    """Write a PNG."""
    with finished_whole(path) as unfinished:
        figure.savefig(unfinished, dpi=DPI, format="png")


def save_jpeg(image: Image.Image, path: Path) -> None:
    with finished_whole(path) as unfinished:
        image.save(unfinished, format="JPEG", quality=80)


def name_classes(axes: Axes, names: Sequence[str], *, x: bool = False, y: bool = False) -> None:
    """Class names at whole numbers of an axis, as they are: a dollar sign is no formula."""
    shown = range(0, len(names), -(-len(names) // MOST_TICKS))
    size = tick_size(len(names))
    labels = [names[index] for index in shown]
    if x:
        axes.set_xticks(list(shown))
        axes.set_xticklabels(labels, rotation=90 if len(names) > 12 else 45, fontsize=size, parse_math=False)
        _align_slanted(axes, slanted=len(names) <= 12)
    if y:
        axes.set_yticks(list(shown))
        axes.set_yticklabels(labels, fontsize=size, parse_math=False)


def label_legend(legend: Legend, labels: Sequence[str]) -> None:
    """Put the texts in last: matplotlib drops those that begin with an underscore and reads `$` as a formula."""
    for text, label in zip(legend.get_texts(), labels, strict=True):
        text.set_parse_math(False)
        text.set_text(label)


def tick_size(classes: int) -> float:
    """Points, for so many names along an axis."""
    return 10 if classes <= 12 else 8 if classes <= 40 else 6


def _align_slanted(axes: Axes, *, slanted: bool) -> None:
    if slanted:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
            label.set_rotation_mode("anchor")
