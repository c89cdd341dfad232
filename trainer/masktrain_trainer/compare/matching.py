"""Two models on one frame: which boxes both have, which one of them only, and where they differ on the class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from masktrain_trainer.detect.detector import Detection
from masktrain_trainer.errors import InvalidConfiguration

LEAST_IOU = 0.5
"""From which on two boxes are of one object; mAP50 takes the same."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Classes:
    """The classes of two models, matched by name: those of the first, then those that only the second one knows.

    `of_models`: for each model, which of `names` each of its class numbers is.
    """

    names: list[str]
    of_models: tuple[list[int], list[int]]

    @classmethod
    def matched(cls, first: Sequence[str], second: Sequence[str]) -> Self:
        """Upper and lower case and the blanks around a name do not count. Raises InvalidConfiguration if no class is in
        both.
        """
        names = list(first)
        numbers = {_plain(name): number for number, name in reversed(list(enumerate(first)))}
        of_second = []
        for name in second:
            if _plain(name) not in numbers:
                numbers[_plain(name)] = len(names)
                names.append(name)
            of_second.append(numbers[_plain(name)])
        matched = cls(names, (list(range(len(first))), of_second))
        if not matched.shared:
            raise InvalidConfiguration(
                f"The models have no class in common: {', '.join(first)} and {', '.join(second)}; "
                "compare models of the same objects."
            )
        return matched

    @property
    def shared(self) -> frozenset[int]:
        """Those that both models know; only they are compared."""
        return frozenset(self.of_models[0]) & frozenset(self.of_models[1])

    def only(self, model: int) -> list[str]:
        """Names that only the first (0) or only the second (1) model knows."""
        return [self.names[number] for number in sorted(set(self.of_models[model]) - self.shared)]


def _plain(name: str) -> str:
    return name.strip().casefold()


@dataclass(frozen=True)
class FrameBoxes:
    """What one model found in a frame, by falling confidence: boxes as xyxy in pixels, labels as `Classes` has them."""

    xyxy_N4: Array = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    confidence_N: Array = field(default_factory=lambda: np.zeros(0, np.float32))
    label_N: Array = field(default_factory=lambda: np.zeros(0, np.int64))

    @classmethod
    def of(cls, detections: Sequence[Detection], labels: Sequence[int]) -> Self:
        """`labels`: the common number of each class of the model."""
        return cls(
            np.array([found.xyxy for found in detections], np.float32).reshape(-1, 4),
            np.array([found.confidence for found in detections], np.float32),
            np.array([labels[found.class_index] for found in detections], np.int64),
        )

    @classmethod
    def joined(cls, parts: Sequence["FrameBoxes"]) -> Self:
        """The boxes of all of them, in this order."""
        return cls(
            np.concatenate([part.xyxy_N4 for part in parts]),
            np.concatenate([part.confidence_N for part in parts]),
            np.concatenate([part.label_N for part in parts]),
        )

    def __len__(self) -> int:
        return len(self.confidence_N)

    def where(self, chosen: Array) -> "FrameBoxes":
        """Those that a mask or indices choose."""
        return FrameBoxes(self.xyxy_N4[chosen], self.confidence_N[chosen], self.label_N[chosen])

    def above(self, confidence: float) -> "FrameBoxes":
        return self.where(self.confidence_N > confidence)

    def among(self, labels: frozenset[int]) -> "FrameBoxes":
        return self.where(np.isin(self.label_N, list(labels)))


def overlaps(xyxy_N4: Array, xyxy_M4: Array) -> Array:
    """IoU (N, M) of every box with every other.

    In NumPy: of the handful of boxes in a frame torch's calls alone would cost a multiple.
    """
    top_left = np.maximum(xyxy_N4[:, None, :2], xyxy_M4[None, :, :2])
    sides = np.clip(np.minimum(xyxy_N4[:, None, 2:], xyxy_M4[None, :, 2:]) - top_left, 0, None)
    shared = sides.prod(axis=2)
    areas = (_area(xyxy_N4)[:, None] + _area(xyxy_M4)[None]) - shared
    return np.asarray(shared / np.maximum(areas, 1e-9))


def _area(xyxy_N4: Array) -> Array:
    return np.asarray(np.clip(xyxy_N4[:, 2:] - xyxy_N4[:, :2], 0, None).prod(axis=1))


def pair_up(score_NM: Array, least: float) -> list[tuple[int, int]]:
    """Pairs of a row and a column, each in at most one, the highest scores first; none below `least`."""
    pairs: list[tuple[int, int]] = []
    if not score_NM.size:
        return pairs
    rows, columns = np.nonzero(score_NM >= least)
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    # Stable, so that what overlaps equally is paired by confidence.
    for index in np.argsort(-score_NM[rows, columns], kind="stable"):
        row, column = int(rows[index]), int(columns[index])
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            pairs.append((row, column))
    return pairs


@dataclass(frozen=True)
class FrameMatch:
    """Indices into the boxes of the first and of the second model.

    same: pairs of one class. other_class: pairs at one place whose classes differ. only: boxes that the other model
    has nothing for.
    """

    same: list[tuple[int, int]]
    other_class: list[tuple[int, int]]
    only: tuple[list[int], list[int]]

    @property
    def disagreements(self) -> int:
        return len(self.other_class) + len(self.only[0]) + len(self.only[1])


def match(first: FrameBoxes, second: FrameBoxes, least_iou: float = LEAST_IOU) -> FrameMatch:
    """Boxes of one class first, the best overlaps first; what is left over is matched whatever its class."""
    iou_NM = overlaps(first.xyxy_N4, second.xyxy_N4)
    same = pair_up(iou_NM * (first.label_N[:, None] == second.label_N[None]), least_iou)
    rest = iou_NM.copy()
    for row, column in same:
        rest[row] = rest[:, column] = 0
    other = pair_up(rest, least_iou)
    taken = [{pair[side] for pair in (*same, *other)} for side in (0, 1)]
    only = tuple(
        [index for index in range(len(boxes)) if index not in gone]
        for boxes, gone in zip((first, second), taken, strict=True)
    )
    return FrameMatch(same, other, (only[0], only[1]))
