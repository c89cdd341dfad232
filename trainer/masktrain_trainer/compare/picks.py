"""The frames most worth labelling: those that let expect most mistakes, spread over the material, none like another.

What is known at the end chooses among the frames that were kept (`candidates.py`). The zip has YOLOv5's layout, with
the boxes of the better model as labels to correct.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import cv2
import numpy as np

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.files import finished_whole

from .candidates import LEAST_WORTH, Candidates, news_beside
from .matching import LEAST_IOU, FrameBoxes, match, overlaps, pair_up
from .mistakes import expected_mistakes
from .recording import Recording
from .witness import Witness

MOST_ALIKE_BITS = 4
"""Of the 64 of the perceptual hash: pictures that differ in so few or fewer look alike as a whole."""
_HASH_SIDE, _THUMBNAIL = 8, 32
THUMBNAIL = 224
"""Longest side of what the page shows of a frame, in pixels."""


@dataclass(frozen=True)
class Pick:
    """A chosen frame: its place in the recording, how many mistakes it lets expect, and why, in words."""

    index: int
    expected: float
    reason: str


def choose(recording: Recording, witness: Witness, candidates: Candidates, better: int, wanted: int) -> list[Pick]:
    """In the order of the material. Fewer where there are not so many that differ.

    The frame that is worth most is taken, which makes those around it worth less; near-duplicates are never taken.
    """
    expected = expected_mistakes(recording, witness, better, candidates.indices)
    views = {index: _View.of(candidates.path(index), _told(recording, witness, index)) for index in candidates.indices}
    left = dict.fromkeys(views, 1.0)
    chosen: list[int] = []
    while left and len(chosen) < wanted:
        taken = max(left, key=lambda index: (expected[index] + LEAST_WORTH) * left[index])
        chosen.append(taken)
        left = {
            index: min(news, _news(recording, taken, index))
            for index, news in left.items()
            if index != taken and not views[index].like(views[taken])
        }
    return [Pick(index, expected[index], _reason(recording, witness, index, better)) for index in sorted(chosen)]


def _news(recording: Recording, taken: int, index: int) -> float:
    """The share of a frame's worth that another one leaves which is labelled; the nearest one counts."""
    one, other = recording.moments[taken], recording.moments[index]
    return news_beside(one.seconds - other.seconds) if recording.moving and one.medium == other.medium else 1.0


@dataclass(frozen=True)
class _View:
    """What makes two frames one to whoever labels them: the picture as a whole is alike, and nothing in it has moved.

    A camera that hangs still shows the same picture for hours, whoever walks through it.
    """

    hash: int
    told: FrameBoxes

    @classmethod
    def of(cls, path: Path, told: FrameBoxes) -> Self:
        return cls(perceptual_hash(_read(path)), told)

    def like(self, other: Self) -> bool:
        if (self.hash ^ other.hash).bit_count() > MOST_ALIKE_BITS or len(self.told) != len(other.told):
            return False
        pairs = pair_up(overlaps(self.told.xyxy_N4, other.told.xyxy_N4), LEAST_IOU)
        return len(pairs) == len(self.told)


def _told(recording: Recording, witness: Witness, index: int) -> FrameBoxes:
    """A box for each place where there is an object by the frames around it, or where one of the models shows one."""
    told = witness.frames[index]
    for model in (0, 1):
        shown = recording.boxes[model][index].above(recording.confidence).among(recording.classes.shared)
        others = shown.where(overlaps(shown.xyxy_N4, told.xyxy_N4).max(axis=1, initial=0) < LEAST_IOU)
        told = FrameBoxes.joined([told, others])
    return told


def _read(path: Path) -> Image:
    picture = cv2.imread(str(path))
    assert picture is not None  # it was written here
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)


def perceptual_hash(pixels_HWC: Image) -> int:
    """64 bits: which of the lowest frequencies are above their median, the mean brightness aside."""
    grey = cv2.resize(
        cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2GRAY), (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA
    )
    lowest = cv2.dct(np.asarray(grey, np.float32))[:_HASH_SIDE, :_HASH_SIDE].ravel()
    return int.from_bytes(np.packbits(lowest > np.median(lowest[1:])).tobytes())


def _reason(recording: Recording, witness: Witness, index: int, better: int) -> str:
    """What the models show in the frame, and how the better one's boxes differ from the frames around it."""
    mine = recording.boxes[better][index].above(recording.confidence).among(recording.classes.shared)
    objects = witness.frames[index]
    pairs = pair_up(overlaps(mine.xyxy_N4, objects.xyxy_N4), LEAST_IOU)
    missed, unconfirmed = len(objects) - len(pairs), len(mine) - len(pairs)
    switched = sum(int(mine.label_N[row] != objects.label_N[column]) for row, column in pairs)
    shown = [
        recording.boxes[side][index].above(recording.confidence).among(recording.classes.shared) for side in (0, 1)
    ]
    found = match(shown[0], shown[1])
    alone = len(found.only[0]) + len(found.only[1])
    counted = (
        (alone, "box of one model only", "boxes of one model only"),
        (len(found.other_class), "class that differs", "classes that differ"),
        (missed, "box that the frames around it have", "boxes that the frames around it have"),
        (unconfirmed, "box that they do not have", "boxes that they do not have"),
        (switched, "class that they call otherwise", "classes that they call otherwise"),
    )
    told = [f"{number} {one if number == 1 else many}" for number, one, many in counted if number]
    return ", ".join(told) or "boxes in doubt"


@dataclass(frozen=True)
class Labelled:
    """A frame as it goes into the zip: `stem` of its files; boxes in pixels; `size` height and width."""

    stem: str
    jpeg: Path
    boxes: FrameBoxes
    size: tuple[int, int]


def write_picks(path: Path, frames: Sequence[Labelled], names: Sequence[str]) -> None:
    """A zip that Roboflow, CVAT and Label Studio import, and `masktrain train` takes once its labels are right.

    `names`: of the labels of the boxes.
    """
    with finished_whole(path) as unfinished, zipfile.ZipFile(unfinished, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.yaml", _data_yaml(names))
        for frame in frames:
            # A JPEG gets no smaller.
            archive.write(frame.jpeg, f"train/images/{frame.stem}.jpg", zipfile.ZIP_STORED)
            archive.writestr(f"train/labels/{frame.stem}.txt", _label_text(frame))


def _data_yaml(names: Sequence[str]) -> str:
    # JSON is YAML, and quotes whatever a name holds.
    quoted = json.dumps(list(names), ensure_ascii=False)
    return f"train: train/images\nval: train/images\n\nnc: {len(names)}\nnames: {quoted}\n"


def _label_text(frame: Labelled) -> str:
    height, width = frame.size
    scale = np.array([width, height, width, height], np.float64)
    xyxy_N4 = np.clip(frame.boxes.xyxy_N4 / scale, 0, 1)
    rows = []
    for label, (x1, y1, x2, y2) in zip(frame.boxes.label_N.tolist(), xyxy_N4.tolist(), strict=True):
        if x2 > x1 and y2 > y1:
            rows.append(f"{label} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n")
    return "".join(rows)
