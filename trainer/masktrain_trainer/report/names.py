"""Class and file names as figures can show them: whatever people call things, nothing overflows and nothing is garbled.

The HTML report shows names as they are; figures have one font, and it does not know every script.
"""

import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import matplotlib as mpl
from matplotlib.ft2font import FT2Font

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
