"""The frames most worth labelling: those that let expect most mistakes, spread over the material, none like another.

Frames are kept as JPEGs while they pass by, a bounded number of them; what is known at the end chooses among them. The
zip has YOLOv5's layout, with the boxes of the better model as labels to correct.
"""

import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.files import finished_whole

from .matching import LEAST_IOU, FrameBoxes, doubt, match, overlaps, pair_up
from .mistakes import expected_mistakes
from .recording import Recording, Seen
from .witness import Witness

JPEG_QUALITY = 95
CANDIDATES = 8
"""Frames that are kept for each one that is wanted."""
MOST_ALIKE_BITS = 4
"""Of the 64 of the perceptual hash: frames that differ in so few or fewer are one to whoever labels them."""
KNOWN_SHARE, KNOWN_SECONDS = 0.3, 0.12
"""So much of a frame's worth is gone once its neighbour is labelled, and less of it the farther away that one is."""
LEAST_WORTH = 0.01
"""Of a frame without an expected mistake: enough that those, too, are spread."""
_HASH_SIDE, _THUMBNAIL = 8, 32
THUMBNAIL = 224
"""Longest side of what the page shows of a frame, in pixels."""


def interest(boxes: tuple[FrameBoxes, FrameBoxes], threshold: float, shared: frozenset[int]) -> float:
    """How many mistakes the boxes of one frame let expect, as far as the frame alone tells.

    Each box that one model alone has, and each place where the classes differ, is a mistake of one of them; a box in
    doubt is half of one.
    """
    first, second = (found.among(shared) for found in boxes)
    shown = (first.above(threshold), second.above(threshold))
    found = match(*shown)
    alone = sum(
        float(found_by.confidence_N[list(only)].sum()) for found_by, only in zip(shown, found.only, strict=True)
    )
    doubts = sum(float(doubt(found_by.confidence_N, threshold).sum()) for found_by in (first, second))
    return len(found.other_class) + len(found.only[0] + found.only[1]) / 2 + alone / 2 + 0.25 * doubts


@dataclass
class _Candidate:
    index: int
    interest: float


class Candidates:
    """The most interesting frame of every stretch of the material; stretches grow so that there are never too many."""

    def __init__(self, folder: Path, wanted: int, threshold: float, shared: frozenset[int]) -> None:
        self._folder = folder
        self._most = max(2, wanted * CANDIDATES)
        self._threshold = threshold
        self._shared = shared
        self._stretch = 1
        self._best: dict[int, _Candidate] = {}

    def offer(self, index: int, seen: Seen) -> None:
        new = _Candidate(index, interest(seen.boxes, self._threshold, self._shared))
        place = index // self._stretch
        old = self._best.get(place)
        if old is not None and old.interest >= new.interest:
            return
        if old is not None:
            self.path(old.index).unlink()
        self._best[place] = new
        write_jpeg(self.path(index), seen.frame.pixels_HWC)
        while len(self._best) > self._most:
            self._widen()

    def _widen(self) -> None:
        self._stretch *= 2
        kept: dict[int, _Candidate] = {}
        for candidate in self._best.values():
            place = candidate.index // self._stretch
            other = kept.get(place)
            if other is None or candidate.interest > other.interest:
                kept[place] = candidate
            if other is not None:
                self.path((other if kept[place] is candidate else candidate).index).unlink()
        self._best = kept

    def path(self, index: int) -> Path:
        return self._folder / f"{index}.jpg"

    @property
    def indices(self) -> list[int]:
        return sorted(candidate.index for candidate in self._best.values())


def write_jpeg(path: Path, pixels_HWC: Image) -> None:
    """Raises OSError."""
    _, body = cv2.imencode(
        ".jpg", cv2.cvtColor(pixels_HWC, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    path.write_bytes(body.tobytes())


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
    expected = expected_mistakes(recording, witness, better)
    hashes = {index: perceptual_hash(_read(candidates.path(index))) for index in candidates.indices}
    left = {index: expected[index] + LEAST_WORTH for index in hashes}
    chosen: list[int] = []
    while left and len(chosen) < wanted:
        taken = max(left, key=lambda index: left[index])
        chosen.append(taken)
        left = {
            index: worth * _news(recording, taken, index)
            for index, worth in left.items()
            if index != taken and (hashes[taken] ^ hashes[index]).bit_count() > MOST_ALIKE_BITS
        }
    return [Pick(index, expected[index], _reason(recording, witness, index, better)) for index in sorted(chosen)]


def _news(recording: Recording, taken: int, index: int) -> float:
    """What is left of a frame's worth once another one is labelled."""
    moments = recording.moments
    if not recording.moving or moments[taken].medium != moments[index].medium:
        return 1.0
    return 1 - KNOWN_SHARE * float(np.exp(-abs(taken - index) / (KNOWN_SECONDS * recording.rate)))


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
