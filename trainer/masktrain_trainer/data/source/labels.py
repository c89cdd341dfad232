"""Label files in YOLO's format: one box or polygon a line, coordinates as fractions of the picture.

A row that cannot be read costs itself and not its picture: it is dropped, and said with its line and the reason.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..augmentation import Outline
from ..geometry import Targets

LARGEST_LABELS = 4 << 20
"""Bytes of one picture's label file: 10,000 polygons of 20 corners fit."""
LONGEST_WORD = 40
"""Characters of a label file's word that a sentence shows: a number may be as long as the file."""
BOX_COLUMNS = 5
SMALLEST_POLYGON = 7
"""Class and three corners."""
ROUNDING = float(np.finfo(np.float32).eps)
"""So far beyond 0 or 1 a coordinate still is 0 or 1: tools compute in float32, or print a digit too many."""
CLIP_LIMIT = 0.01
"""So far beyond 0 or 1 a coordinate may be for its box to be clipped at the picture's edges: a pixel of a hundred."""
SURELY_PIXELS = 2.0
"""From this coordinate on a sentence asks whether it is one in pixels."""
LARGEST_CLASS = 1 << 24
"""Up to here float32, in which boxes and classes are kept, tells all whole numbers apart."""
MOST_EXAMPLES = 3
"""Dropped rows of one file that are kept with their reasons: a file may hold a million."""


class LabelViolation(ValueError):
    """`str()` says why a label file cannot be read, as the rest of a sentence that began with the image's name."""


class _Unusable(ValueError):
    """`str()` is the reason of a `DroppedRow`."""


class _WithoutArea(_Unusable):
    """A row that is read and shows nothing."""


class _BeyondNames(_Unusable):
    """A class that data.yaml has no name for, above the others."""

    def __init__(self, reason: str, label: float) -> None:
        super().__init__(reason)
        self.label = label


@dataclass(frozen=True)
class DroppedRow:
    """`reason` is the rest of a sentence that begins with the row."""

    line: int
    reason: str


@dataclass(frozen=True)
class UnnamedClass:
    number: float
    line: int


@dataclass(frozen=True)
class Labels:
    """`targets` of the rows that are taken; every other row of the file is counted in `duplicates` or `dropped`."""

    targets: Targets
    outlines: list[Outline]
    """Of each target, normalised; empty for one that is labelled with a box."""
    duplicates: int = 0
    """Rows that were there twice and are left out."""
    dropped: int = 0
    without_area: int = 0
    """Those of the dropped rows that name no part of the picture."""
    examples: list[DroppedRow] = field(default_factory=list)
    """The first of the dropped rows."""
    clipped: int = 0
    """Of the targets, those that are clipped at the picture's edges."""
    keypoints: int = 0
    """Of the targets, those whose key points are passed over."""
    unnamed: UnnamedClass | None = None
    """The highest class above those that data.yaml names, if any."""

    @property
    def rows(self) -> int:
        return len(self.targets) + self.duplicates + self.dropped

    @property
    def hides_objects(self) -> bool:
        """Whether no row is left although some named an object: the picture would be learnt as one without any."""
        return not len(self.targets) and self.dropped > self.without_area


def read_labels(path: Path | None, classes: int | None, keypoint_columns: int | None = None) -> Labels:
    """Labels of one image; no file, a missing or an empty one means background. Raises LabelViolation."""
    try:
        if path is not None and path.stat().st_size > LARGEST_LABELS:
            raise LabelViolation(f"its label file is larger than {LARGEST_LABELS >> 20} MiB")
        text = "" if path is None else path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        text = ""
    except UnicodeDecodeError:
        raise LabelViolation("its label file is not a text file in UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise LabelViolation(f"its label file cannot be read ({error.strerror})") from None
    return parse_labels(text, classes, keypoint_columns)


def parse_labels(text: str, classes: int | None, keypoint_columns: int | None = None) -> Labels:
    """Rows `class x y w h` or `class x1 y1 x2 y2 x3 y3 …`, coordinates as fractions of the picture's sides.

    With `classes` None any class number is taken. `keypoint_columns` of a pose data set follow the box in a row; where
    it is set, no row is a polygon. Unlike YOLOv5, which takes a whole file for polygons when one row is, each row is
    read for what it is.
    """
    reading = _Reading(classes, keypoint_columns)
    for number, line in enumerate(text.splitlines(), 1):
        if words := line.split():
            reading.take(number, words)
    return reading.labels()


@dataclass(frozen=True)
class _Row:
    box: tuple[float, ...]
    """Class, centre, width and height."""
    corners: list[float]
    """Of a polygon."""
    is_clipped: bool
    has_keypoints: bool


@dataclass
class _Reading:
    classes: int | None
    keypoint_columns: int | None
    # A dictionary and not a set: it keeps the order of the file, and with it the samples byte for byte.
    taken: dict[tuple[float, ...], _Row] = field(default_factory=dict)
    duplicates: int = 0
    dropped: int = 0
    without_area: int = 0
    examples: list[DroppedRow] = field(default_factory=list)
    unnamed: UnnamedClass | None = None

    def take(self, number: int, words: list[str]) -> None:
        try:
            row = _parse_row(words, self.classes, self.keypoint_columns)
        except _Unusable as problem:
            self._drop(number, problem)
            return
        if row.box in self.taken:
            self.duplicates += 1
        else:
            self.taken[row.box] = row

    def _drop(self, number: int, problem: _Unusable) -> None:
        self.dropped += 1
        self.without_area += isinstance(problem, _WithoutArea)
        if isinstance(problem, _BeyondNames) and (self.unnamed is None or problem.label > self.unnamed.number):
            self.unnamed = UnnamedClass(problem.label, number)
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append(DroppedRow(number, str(problem)))

    def labels(self) -> Labels:
        rows = self.taken.values()
        return Labels(
            np.array(list(self.taken), np.float32).reshape(-1, BOX_COLUMNS),
            [np.array(row.corners, np.float32).reshape(-1, 2) for row in rows],
            duplicates=self.duplicates,
            dropped=self.dropped,
            without_area=self.without_area,
            examples=self.examples,
            clipped=sum(row.is_clipped for row in rows),
            keypoints=sum(row.has_keypoints for row in rows),
            unnamed=self.unnamed,
        )


def _parse_row(words: list[str], classes: int | None, keypoint_columns: int | None) -> _Row:
    has_keypoints = bool(keypoint_columns) and len(words) == BOX_COLUMNS + (keypoint_columns or 0)
    if has_keypoints:
        words = words[:BOX_COLUMNS]
    _check_columns(len(words), keypoint_columns)
    label = _parse_class(words[0], classes)
    values = [_parse_coordinate(word) for word in words[1:]]
    clipped = [min(max(value, 0.0), 1.0) for value in values]
    is_beyond = values != clipped
    if len(values) == BOX_COLUMNS - 1:
        box, corners = (_clip_box(values) if is_beyond else values), []
    else:
        box, corners = _extent(clipped), clipped
    # No anchor matches such a box: it would count as missed in every validation, and never be learnt. As float32,
    # which it becomes.
    if not (np.float32(box[2]) > 0 and np.float32(box[3]) > 0):
        is_outside = is_beyond and min(values[2:4]) > 0
        raise _WithoutArea("is a box outside its picture" if is_outside else "is a box without width or height")
    return _Row((label, *box), corners, is_beyond, has_keypoints)


def _check_columns(columns: int, keypoint_columns: int | None) -> None:
    if columns == BOX_COLUMNS:
        return
    has = f"has {columns} column{'s' if columns > 1 else ''} instead of 5 (class x y w h)"
    if keypoint_columns:
        raise _Unusable(f"{has} or {BOX_COLUMNS + keypoint_columns} (with the key points of kpt_shape)")
    if columns < SMALLEST_POLYGON or columns % 2 == 0:
        raise _Unusable(has)


def _parse_class(word: str, classes: int | None) -> float:
    label, shown = _parse_number(word), word[:LONGEST_WORD]
    if not math.isfinite(label) or label != int(label):
        raise _Unusable(f"has the class {shown}, which is not a whole number")
    if classes is None:
        if not 0 <= label <= LARGEST_CLASS:
            raise _Unusable(f"has the class {shown}, which is not the number of a class")
    elif not 0 <= label < classes:
        reason = f"has class {shown}, but data.yaml names {_numbers(classes)}"
        raise _BeyondNames(reason, label) if label > 0 else _Unusable(reason)
    return label


def _numbers(classes: int) -> str:
    return f"classes 0 to {classes - 1}" if classes > 1 else "class 0 only"


def _parse_coordinate(word: str) -> float:
    """A number from -CLIP_LIMIT to 1 + CLIP_LIMIT, 0 or 1 where only rounding keeps it from that."""
    value = _parse_number(word)
    if not -CLIP_LIMIT <= value <= 1 + CLIP_LIMIT:
        question = " (in pixels?)" if SURELY_PIXELS <= value < math.inf else ""
        raise _Unusable(f"has the coordinate {word[:LONGEST_WORD]}, outside 0 to 1{question}")
    nearest = min(max(value, 0.0), 1.0)
    return nearest if abs(value - nearest) <= ROUNDING else value


def _parse_number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        raise _Unusable(f"has the text {word[:LONGEST_WORD]!r} instead of a number") from None


def _clip_box(box: list[float]) -> list[float]:
    x, y, width, height = box
    if width <= 0 or height <= 0:
        return box
    across = [min(max(edge, 0.0), 1.0) for edge in (x - width / 2, x + width / 2)]
    down = [min(max(edge, 0.0), 1.0) for edge in (y - height / 2, y + height / 2)]
    return _extent([across[0], down[0], across[1], down[1]])


def _extent(corners: list[float]) -> list[float]:
    """Centre box around a polygon."""
    left, right, top, bottom = min(corners[::2]), max(corners[::2]), min(corners[1::2]), max(corners[1::2])
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
