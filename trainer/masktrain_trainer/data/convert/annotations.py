"""What an export says, whatever its tool: pictures with boxes, and a ledger of every box that was seen or left out.

A reader counts each box of the source before it looks at it, so that what is written can be compared with the source,
class by class.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple

from masktrain_trainer.config import LONGEST_CLASS_NAME
from masktrain_trainer.errors import InvalidDataset, printable

LONGEST_SHOWN = 200
EXAMPLES = 3
"""Places that a sentence names."""
TURNED = "are turned and became the upright box around them"
NO_BOX = "have no four numbers for their edges"


class Box(NamedTuple):
    """An object of a class; its edges as the source has them, in the unit of its picture's size, also beyond it."""

    name: str
    left: float
    top: float
    right: float
    bottom: float


@dataclass
class AnnotatedPicture:
    """A picture as an export describes it."""

    said: str
    """What the export calls it."""
    path: PurePosixPath | None
    """Its file, or None if `problem` says why there is none."""
    problem: str = ""
    split: str | None = None
    size: tuple[float, float] | None = None
    """Width and height that the boxes are measured by; None: the pixels of the file."""
    boxes: list[Box] = field(default_factory=list)

    @property
    def shown(self) -> str:
        """For sentences."""
        return printable(self.said[:LONGEST_SHOWN])


@dataclass
class Tally:
    """How often, by class, and where first."""

    classes: Counter[str] = field(default_factory=Counter)
    places: list[str] = field(default_factory=list)

    def add(self, name: str, where: str) -> None:
        self.classes[name] += 1
        if len(self.places) < EXAMPLES and where not in self.places:
            self.places.append(where)

    def __str__(self) -> str:
        return ", ".join(self.places) + (", …" if self.classes.total() > len(self.places) else "")


@dataclass
class Ledger:
    """What became of all that an export holds. A reason is the rest of a sentence that begins with `boxes that`."""

    source: Counter[str] = field(default_factory=Counter)
    """Boxes of each class."""
    left_out: dict[str, Tally] = field(default_factory=dict)
    remarks: dict[str, Tally] = field(default_factory=dict)
    """What was done with boxes that stay."""
    other_shapes: dict[str, Tally] = field(default_factory=dict)
    """Shapes that are no boxes, by their kind."""
    sentences: list[str] = field(default_factory=list)
    """About files, not boxes."""

    def leave_out(self, reason: str, name: str, where: str) -> None:
        self.left_out.setdefault(reason, Tally()).add(name, where)

    def remark(self, reason: str, name: str, where: str) -> None:
        self.remarks.setdefault(reason, Tally()).add(name, where)

    def other_shape(self, kind: str, where: str) -> None:
        self.other_shapes.setdefault(kind, Tally()).add(kind, where)


@dataclass
class Export:
    """`names` in the source's order; without one, by the alphabet."""

    names: list[str] = field(default_factory=list)
    pictures: list[AnnotatedPicture] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def add_names(self, names: Iterable[str]) -> None:
        """Those that are new, behind the others."""
        self.names = list(dict.fromkeys([*self.names, *names]))


def class_name(value: object, shown: str) -> str:
    """A class's name as text; raises InvalidDataset."""
    text = printable(str(value)).strip() if isinstance(value, str | int | float) else ""
    if not text:
        raise InvalidDataset(f"{shown} has a class without a name; name it, and export again.")
    if len(text) > LONGEST_CLASS_NAME:
        raise InvalidDataset(f"{shown} has a class name of more than {LONGEST_CLASS_NAME} characters; shorten it.")
    return text


def number(value: object) -> float | None:
    """A finite number, also one that is written as text."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def numbers(values: Iterable[object]) -> list[float] | None:
    """All of them, or None."""
    found = [number(value) for value in values]
    known = [value for value in found if value is not None]
    return known if len(known) == len(found) else None


Edges = tuple[float, float, float, float]
"""Left, top, right, bottom."""


def extent(points: list[float]) -> Edges | None:
    """Around x, y, x, y …; None for less than three points, which are no outline."""
    if len(points) < 6 or len(points) % 2:
        return None
    return min(points[::2]), min(points[1::2]), max(points[::2]), max(points[1::2])


def around_turned_box(centre: tuple[float, float], size: tuple[float, float], degrees: float) -> Edges:
    """The upright box around a box that is turned about its centre; all in pixels."""
    angle = math.radians(degrees)
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    half_width = (size[0] * cosine + size[1] * sine) / 2
    half_height = (size[0] * sine + size[1] * cosine) / 2
    return centre[0] - half_width, centre[1] - half_height, centre[0] + half_width, centre[1] + half_height


def around_ellipse(centre: tuple[float, float], radii: tuple[float, float], degrees: float) -> Edges:
    """The upright box around an ellipse; all in pixels."""
    angle = math.radians(degrees)
    half_width = math.hypot(radii[0] * math.cos(angle), radii[1] * math.sin(angle))
    half_height = math.hypot(radii[0] * math.sin(angle), radii[1] * math.cos(angle))
    return centre[0] - half_width, centre[1] - half_height, centre[0] + half_width, centre[1] + half_height
