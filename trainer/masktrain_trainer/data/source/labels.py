"""Label files in YOLO's format: one box or polygon a line, coordinates as fractions of the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
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


class LabelViolation(ValueError):
    """`str()` says what a label file does wrong, as the rest of a sentence that began with the image's name."""


@dataclass(frozen=True)
class Labels:
    targets: Targets
    outlines: list[Outline]
    """Of each target, normalised; empty for one that is labelled with a box."""
    duplicates: int
    """Rows that were there twice and are left out."""


def label_path(image: Path) -> Path:
    """Where the labels of an image are: the last `images` folder becomes `labels`, the ending `.txt`."""
    parts = list(image.parts)
    folders = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return Path(*parts).with_suffix(".txt")


def read_labels(path: Path, classes: int) -> Labels:
    """Labels of one image; a missing or empty file means background. Raises LabelViolation."""
    try:
        if path.stat().st_size > LARGEST_LABELS:
            raise LabelViolation(f"its label file is larger than {LARGEST_LABELS >> 20} MiB")
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        text = ""
    except (UnicodeDecodeError, OSError):
        raise LabelViolation("its label file is not a text file") from None
    return parse_labels(text, classes)


def parse_labels(text: str, classes: int) -> Labels:
    """Rows `class x y w h` or `class x1 y1 x2 y2 x3 y3 …`, coordinates as fractions; raises LabelViolation.

    Unlike YOLOv5, which takes a whole file for polygons when one row is, each row is read for what it is.
    """
    rows = [
        _parse_row(line.split(), number, classes) for number, line in enumerate(text.splitlines(), 1) if line.strip()
    ]
    # A dictionary and not a set: it keeps the order of the file, and with it the samples byte for byte.
    unique: dict[tuple[float, ...], list[float]] = {}
    for box, corners in rows:
        unique.setdefault(box, corners)
    targets = np.array(list(unique), np.float32).reshape(-1, BOX_COLUMNS)
    outlines = [np.array(corners, np.float32).reshape(-1, 2) for corners in unique.values()]
    return Labels(targets, outlines, len(rows) - len(unique))


def _parse_row(words: list[str], number: int, classes: int) -> tuple[tuple[float, ...], list[float]]:
    """Class and box, and the corners of a polygon."""
    columns = len(words)
    if columns != BOX_COLUMNS and (columns < SMALLEST_POLYGON or columns % 2 == 0):
        raise LabelViolation(f"line {number} of its labels has {columns} columns instead of 5 (class x y w h)")
    label = _parse_class(words[0], number, classes)
    values = [_parse_coordinate(word, number) for word in words[1:]]
    box, corners = (values, []) if columns == BOX_COLUMNS else (_extent(values), values)
    # No anchor matches such a box: it would count as missed in every validation, and never be learnt.
    if box[2] <= 0 or box[3] <= 0:
        raise LabelViolation(f"line {number} of its labels is a box without width or height")
    return (label, *box), corners


def _parse_class(word: str, number: int, classes: int) -> float:
    label = _parse_number(word, number)
    if not math.isfinite(label) or label != int(label):
        raise LabelViolation(
            f"line {number} of its labels has the class {word[:LONGEST_WORD]}, which is not a whole number"
        )
    if not 0 <= label < classes:
        shown = word[:LONGEST_WORD]
        raise LabelViolation(
            f"line {number} of its labels has class {shown}, but data.yaml names classes 0 to {classes - 1}"
        )
    return label


def _parse_coordinate(word: str, number: int) -> float:
    value = _parse_number(word, number)
    if not 0 <= value <= 1:
        raise LabelViolation(f"line {number} of its labels has the coordinate {word[:LONGEST_WORD]}, outside 0 to 1")
    return value


def _parse_number(word: str, number: int) -> float:
    try:
        return float(word)
    except ValueError:
        raise LabelViolation(
            f"line {number} of its labels has the text {word[:LONGEST_WORD]!r} instead of a number"
        ) from None


def _extent(corners: list[float]) -> list[float]:
    """Centre box around a polygon."""
    left, right, top, bottom = min(corners[::2]), max(corners[::2]), min(corners[1::2]), max(corners[1::2])
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
