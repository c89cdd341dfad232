"""What in a data set looks like a mistake without a training: pictures that are there twice, odd boxes, odd classes.

A finding is a reason to look and no verdict. Near-duplicates are found by the perceptual hash of their cosine transform
(C. Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010) and confirmed by the correlation
of small grey pictures; pictures that were mirrored, resized or compressed anew are found, crops and rotations are not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from masktrain_trainer.data.geometry import Boxes, Image, Targets, xywhn_to_xyxy
from masktrain_trainer.data.prepared import CachedImages, Split
from masktrain_trainer.data.source.pictures import UnreadablePicture, read_picture
from masktrain_trainer.errors import InvalidDataset
from masktrain_trainer.model.boxes import pairwise_iou
from masktrain_trainer.predict.drawing import LabelledBox


class Kind(StrEnum):
    """What a finding is about, in the order in which they are shown."""

    LEAK = "Pictures in more than one split"
    DUPLICATE = "Pictures that are there twice"
    CLASS = "Boxes that may have another class"
    MISSING = "Objects that may lack a box"
    SHIFTED = "Boxes that may lie in the wrong place"
    SPURIOUS = "Boxes that may have no object"
    OVERLAP = "Boxes that cover each other"
    SIZE = "Boxes of an odd size"
    SPLITS = "Classes that the splits show differently"


@dataclass(frozen=True)
class Finding:
    """`score` orders the findings of a kind, the worst first; `boxes`, in pixels, are drawn on `pictures`."""

    kind: Kind
    sentence: str
    score: float = 0.0
    pictures: Sequence[Picture] = ()
    boxes: Sequence[LabelledBox] = field(default=(), repr=False)


@dataclass(frozen=True, eq=False)
class Picture:
    """A usable picture of any split with its labels; `name` is its path in the data set."""

    split: str
    name: str
    path: Path
    width: int
    height: int
    targets: Targets

    @property
    def corners(self) -> Boxes:
        """(N, 4) xyxy in pixels."""
        return xywhn_to_xyxy(self.targets[:, 1:], width=self.width, height=self.height)

    def pixels(self) -> Image:
        """As training sees them. Raises InvalidDataset if the file was changed since it was looked at."""
        image = read_picture(self.path)
        if isinstance(image, UnreadablePicture):
            raise InvalidDataset(f"{self.name} was changed while it was looked at: {image.reason}.")
        return image

    @property
    def classes(self) -> list[int]:
        return [int(label) for label in self.targets[:, 0]]


def pictures_of(splits: dict[str, Split]) -> list[Picture]:
    return [
        Picture(name, record.name, record.path, record.width, record.height, images.targets(index))
        for name, split, images in _with_images(splits)
        for index, record in enumerate(split.images)
    ]


def _with_images(splits: dict[str, Split]) -> Iterator[tuple[str, Split, CachedImages]]:
    for name, split in splits.items():
        yield name, split, CachedImages(split.labels, split.cache)


THUMBNAIL = 32
"""Side in pixels of the grey pictures that are compared: the hash's author takes as many."""
HASH_SIDE = 8
MOST_BITS_APART = 10
"""Of 64: what is further apart is not looked at."""
LEAST_CORRELATION = 0.95
MOST_ALIKE = 50
"""Of each picture: a film's frames are all alike, and every pair of a thousand of them would be half a million."""
_ROWS = 512


@dataclass(frozen=True)
class Fingerprints:
    """Of each picture and of its mirror image: hashes, and grey values of mean 0 and length 1 in float16."""

    hashes_N: npt.NDArray[np.uint64]
    mirrored_N: npt.NDArray[np.uint64]
    grey_NP: npt.NDArray[np.float16]


def fingerprints(splits: dict[str, Split]) -> Fingerprints:
    """In the order of `pictures_of`, from the decoded pixels."""
    grey = [_grey(images.image(index)) for _, _, images in _with_images(splits) for index in range(len(images))]
    return Fingerprints(
        np.array([_hash(thumbnail) for thumbnail in grey], np.uint64),
        np.array([_hash(thumbnail[:, ::-1]) for thumbnail in grey], np.uint64),
        np.array([_normalised(thumbnail) for thumbnail in grey], np.float16).reshape(len(grey), THUMBNAIL**2),
    )


def _grey(image_HWC: Image) -> npt.NDArray[np.float32]:
    grey = cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)
    return np.asarray(cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA), np.float32)


def _hash(grey: npt.NDArray[np.float32]) -> int:
    """64 bits: which of the lowest frequencies are above their median, the mean brightness aside."""
    lowest = cv2.dct(np.ascontiguousarray(grey))[:HASH_SIDE, :HASH_SIDE].ravel()
    bits = lowest > np.median(lowest[1:])
    return int.from_bytes(np.packbits(bits).tobytes())


def _normalised(grey: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    centred = (grey - grey.mean()).ravel()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)


def alike(prints: Fingerprints) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that look the same, at most `MOST_ALIKE` for each i."""
    mirror = np.arange(THUMBNAIL**2).reshape(THUMBNAIL, THUMBNAIL)[:, ::-1].ravel()
    number = len(prints.hashes_N)
    for start in range(0, number, _ROWS):
        rows = slice(start, min(start + _ROWS, number))
        for others, turned in ((prints.hashes_N, False), (prints.mirrored_N, True)):
            apart = np.bitwise_count(prints.hashes_N[rows, None] ^ others[None, start:])
            for row in range(apart.shape[0]):
                bits = apart[row, row + 1 :]
                # The nearest first, or a plain background's many neighbours could crowd a copy out.
                nearest = np.flatnonzero(bits <= MOST_BITS_APART)
                near = nearest[np.argsort(bits[nearest], kind="stable")][:MOST_ALIKE] + row + 1 + start
                own = prints.grey_NP[start + row].astype(np.float32)
                correlations = prints.grey_NP[near].astype(np.float32) @ (own[mirror] if turned else own)
                yield from ((start + row, int(other)) for other in near[correlations >= LEAST_CORRELATION])


def groups_of(number: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Of each of `number` pictures the least one that it is alike to, over any number of steps."""
    parents = list(range(number))

    def root(index: int) -> int:
        while parents[index] != index:
            parents[index] = parents[parents[index]]
            index = parents[index]
        return index

    for first, second in pairs:
        low, high = sorted((root(first), root(second)))
        parents[high] = low
    return [root(index) for index in range(number)]


def duplicates(pictures: Sequence[Picture], groups: Sequence[int]) -> Iterator[Finding]:
    """Groups within a split, and those between splits, by which a model is measured on what it has learnt."""
    members = defaultdict[int, list[Picture]](list)
    for picture, group in zip(pictures, groups, strict=True):
        members[group].append(picture)
    for found in members.values():
        if len(found) > 1:
            kind = Kind.LEAK if len({picture.split for picture in found}) > 1 else Kind.DUPLICATE
            yield Finding(kind, _alike_sentence(found), float(len(found)), found)


def _alike_sentence(found: Sequence[Picture]) -> str:
    names = ", ".join(picture.name for picture in found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
    labels = {tuple(sorted(picture.classes)) for picture in found}
    return f"{names} look the same" + (", but are labelled differently." if len(labels) > 1 else ".")


def same_source(pictures: Sequence[Picture]) -> Iterator[tuple[int, int]]:
    """Pairs of versions of one picture in different splits: Roboflow calls them NAME.rf.HASH.jpg."""
    first_of = dict[str, int]()
    for index, picture in enumerate(pictures):
        stem, separator, _ = Path(picture.name).name.partition(".rf.")
        if separator:
            other = first_of.setdefault(stem, index)
            if pictures[other].split != picture.split:
                yield other, index


SMALLEST_SIDE = 3.0
"""Pixels in a picture of 640: less than half of what the finest cells of the detector see."""
REFERENCE_SIZE = 640
WHOLE_PICTURE = 0.98
DEVIATIONS = 6.0
"""Of the logarithm of a box's area from its class's median, in robust standard deviations."""
LEAST_BOXES = 20
"""Of a class, before one of its boxes can be odd among them."""
LARGEST_OVERLAP = 0.85
"""IoU of two boxes of one picture: objects that stand before each other reach 0.7."""
_MAD_TO_DEVIATION = 1.4826
"""A normal distribution's standard deviation by its median absolute deviation."""


def odd_boxes(pictures: Sequence[Picture], names: Sequence[str]) -> Iterator[Finding]:
    """Boxes of a size that no other one of their class has, or that cover another one."""
    usual = _usual_areas(pictures, len(names))
    for picture in pictures:
        for index, label in enumerate(picture.classes):
            if sentence := _odd_size(picture.targets[index], usual[label], picture):
                score = abs(float(np.log(np.prod(picture.targets[index, 3:]) + 1e-12)))
                yield Finding(
                    Kind.SIZE,
                    f"{picture.name}: the box {names[label]!r} {at(picture.corners[index])} {sentence}.",
                    score,
                    [picture],
                    [marked(picture, index, names)],
                )
        yield from _overlaps(picture, names)


@dataclass(frozen=True)
class _Usual:
    """Median and robust standard deviation of the logarithm of a class's areas, as fractions of the picture."""

    median: float
    deviation: float
    boxes: int
    whole: float
    """Share of the boxes that cover their picture."""


def _usual_areas(pictures: Sequence[Picture], classes: int) -> list[_Usual]:
    targets = np.concatenate([np.zeros((0, 5), np.float32), *(picture.targets for picture in pictures)])
    return [_usual(targets[targets[:, 0] == label, 3:]) for label in range(classes)]


def _usual(wh_N2: npt.NDArray[np.float32]) -> _Usual:
    if len(wh_N2) == 0:
        return _Usual(0.0, 0.0, 0, 0.0)
    areas = np.log(wh_N2.prod(axis=1) + 1e-12)
    median = float(np.median(areas))
    deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(areas - median)))
    return _Usual(median, deviation, len(areas), float(np.mean((wh_N2 >= WHOLE_PICTURE).all(axis=1))))


def _odd_size(target_5: npt.NDArray[np.float32], usual: _Usual, picture: Picture) -> str | None:
    width, height = float(target_5[3]), float(target_5[4])
    scale = REFERENCE_SIZE / max(picture.width, picture.height)
    if min(width * picture.width, height * picture.height) * scale < SMALLEST_SIDE:
        return f"is narrower than {SMALLEST_SIDE:.0f} pixels once the picture measures {REFERENCE_SIZE}"
    if min(width, height) >= WHOLE_PICTURE and usual.whole < 0.1:
        return "covers the whole picture, as few of its class do"
    if usual.boxes < LEAST_BOXES or usual.deviation <= 0:
        return None
    logarithm = float(np.log(width * height))
    if abs(logarithm - usual.median) <= DEVIATIONS * usual.deviation:
        return None
    times = float(np.exp(abs(logarithm - usual.median)))
    return f"is {times:.0f} times {'larger' if logarithm > usual.median else 'smaller'} than its class's usual one"


def _overlaps(picture: Picture, names: Sequence[str]) -> Iterator[Finding]:
    boxes_N4 = torch.from_numpy(picture.corners)
    if len(boxes_N4) < 2:
        return
    overlap_NN = pairwise_iou(boxes_N4, boxes_N4).triu(diagonal=1)
    for first, second in (overlap_NN > LARGEST_OVERLAP).nonzero().tolist():
        labels = [names[picture.classes[index]] for index in (first, second)]
        same = "twice as" if labels[0] == labels[1] else f"as {labels[0]!r} and as"
        yield Finding(
            Kind.OVERLAP,
            f"{picture.name}: what lies {at(picture.corners[first])} is labelled {same} {labels[1]!r}.",
            float(overlap_NN[first, second]),
            [picture],
            [marked(picture, index, names) for index in (first, second)],
        )


def at(xyxy_4: npt.NDArray[np.floating] | Sequence[float]) -> str:
    """Where a box is, for a person who looks for it in an editor."""
    x1, y1, x2, y2 = (round(float(value)) for value in xyxy_4)
    return f"at x {x1}, y {y1} ({x2 - x1} x {y2 - y1} pixels)"


def marked(picture: Picture, index: int, names: Sequence[str]) -> LabelledBox:
    """The label as it is drawn."""
    x1, y1, x2, y2 = picture.corners[index].tolist()
    label = picture.classes[index]
    return LabelledBox((x1, y1, x2, y2), label, names[label])


TIMES_MORE, LEAST_SHARE = 3.0, 0.05
"""By so much the shares of two classes differ between splits, in opposite directions, before they look swapped; and
the share that the frequent one has at least."""


def odd_classes(pictures: Sequence[Picture], names: Sequence[str]) -> Iterator[Finding]:
    """Two classes of which each split shows the other one far more often: an export may have numbered them anew."""
    splits = list(dict.fromkeys(picture.split for picture in pictures))
    shares = {
        split: _shares([picture for picture in pictures if picture.split == split], len(names)) for split in splits
    }
    train_C = shares.pop("train", np.zeros(len(names)))
    for split, other_C in shares.items():
        for first, second in _swapped(train_C, other_C):
            yield Finding(
                Kind.SPLITS,
                f"{names[first]!r} has {train_C[first]:.0%} of the boxes in train and {other_C[first]:.0%} in {split}, "
                f"{names[second]!r} {train_C[second]:.0%} and {other_C[second]:.0%}: were the two swapped?",
                abs(float(train_C[first] - other_C[first])),
            )


def _shares(pictures: Sequence[Picture], classes: int) -> npt.NDArray[np.float64]:
    """Of each class, of all boxes."""
    labels = [label for picture in pictures for label in picture.classes]
    return np.bincount(labels, minlength=classes) / len(labels) if labels else np.zeros(classes)


def _swapped(train_C: npt.NDArray[np.float64], other_C: npt.NDArray[np.float64]) -> Iterator[tuple[int, int]]:
    rarer = (train_C > TIMES_MORE * other_C) & (train_C >= LEAST_SHARE)
    more_frequent = (other_C > TIMES_MORE * train_C) & (other_C >= LEAST_SHARE)
    for first in np.flatnonzero(rarer):
        yield from ((int(first), int(second)) for second in np.flatnonzero(more_frequent))
