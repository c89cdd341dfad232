"""The prepared data set, which every rank of the pod reads: its description, the index of boxes, and decoded pixels.

The pixels lie in one file that all ranks map into memory, so that the kernel keeps one copy of its pages. Every image
has a slot of the largest size it can have; the file is sparse, so an unused rest of a slot takes no space. A split that
would take too much of the disk is kept as JPEGs, in the same slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from .augmentation import Outline
from .geometry import Image, Size, Targets

FILE_NAME = "prepared.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRecord(_Record):
    name: str
    """Path inside the zip."""
    path: Path
    height: int
    width: int
    """Original size in pixels, the EXIF orientation applied."""


class Split(_Record):
    images: list[ImageRecord]
    labels: Path
    """npz with boxes and, per image, size and place in the cache: see `CachedImages`."""
    cache: Path
    """Decoded pixels of all images, for mapping into memory."""


class PreparedDataset(_Record):
    names: list[str]
    image_size: int
    train: Split
    val: Split
    test: Split | None = None


def load_prepared(directory: Path) -> PreparedDataset:
    return PreparedDataset.model_validate_json((directory / FILE_NAME).read_bytes())


def save_prepared(directory: Path, prepared: PreparedDataset) -> None:
    (directory / FILE_NAME).write_text(prepared.model_dump_json(), encoding="utf-8")


PAGE = 4096
_NO_CORNERS = np.zeros((0, 2), np.float32)


def slot_bytes(image_size: int) -> int:
    # Whole pages, so that what an image leaves of its slot is a hole in the sparse file.
    return -(-3 * image_size * image_size // PAGE) * PAGE


def create_cache(path: Path, slots: int, image_size: int) -> None:
    """Make a sparse file with room for `slots` images whose long side is `image_size`."""
    with path.open("wb") as file:
        file.truncate(slots * slot_bytes(image_size))


def store_image(path: Path, slot: int, image_HWC: Image, image_size: int, *, compress: bool = False) -> int:
    """Write one image into its slot and return its bytes; processes may do so at the same time."""
    stored = _compressed(image_HWC) if compress else np.ascontiguousarray(image_HWC).reshape(-1)
    with path.open("r+b", buffering=0) as file:
        file.seek(slot * slot_bytes(image_size))
        # Unbuffered and at its own place, so that processes write to one file without a lock.
        file.write(stored.data)
    return len(stored)


_JPEG_SETTINGS = (
    *(cv2.IMWRITE_JPEG_QUALITY, 95),
    # Colours at full resolution: at half of it, as is usual, small coloured things lose what they are told by.
    *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444),
)


def _compressed(image_HWC: Image) -> npt.NDArray[np.uint8]:
    """As a JPEG, or as its pixels if these are fewer bytes, which noise is: a number of bytes tells the two apart."""
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(image_HWC, cv2.COLOR_RGB2BGR), _JPEG_SETTINGS)
    return np.asarray(encoded, np.uint8) if len(encoded) < image_HWC.size else np.ascontiguousarray(image_HWC).ravel()


def save_index(
    path: Path,
    *,
    slots_N: npt.NDArray[np.int64],
    sizes_N2: npt.NDArray[np.int64],
    bytes_N: npt.NDArray[np.int64],
    targets: list[Targets],
    outlines: list[list[Outline]] | None = None,
    image_size: int,
) -> None:
    """Write the index of a cache: slot, size and stored bytes of each image, all boxes with the row each image starts
    at, and the corners of all outlines with the row each box's start at.
    """
    rows = np.concatenate([np.zeros((0, 5), np.float32), *targets])
    starts = np.cumsum([0, *(len(target) for target in targets)])
    of_boxes = [outline for of_image in outlines or [] for outline in of_image] or [_NO_CORNERS] * len(rows)
    corners = np.concatenate([_NO_CORNERS, *of_boxes])
    corner_starts = np.cumsum([0, *map(len, of_boxes)])
    np.savez(
        path,
        slots=slots_N,
        sizes=sizes_N2,
        bytes=bytes_N,
        targets=rows,
        starts=starts,
        corners=corners,
        corner_starts=corner_starts,
        image_size=image_size,
    )


class CachedImages:
    """Read access to a cache. Pickles as two paths, so worker processes map the file themselves."""

    def __init__(self, labels: Path, cache: Path) -> None:
        self._labels = labels
        self._cache = cache
        with np.load(labels) as index:
            self.image_size = int(index["image_size"])
            self._offsets = index["slots"] * slot_bytes(self.image_size)
            self.sizes_N2: npt.NDArray[np.int64] = index["sizes"]
            self._bytes_N = index["bytes"]
            self._targets: Targets = index["targets"]
            self._starts = index["starts"]
            self._corners: Outline = index["corners"]
            self._corner_starts = index["corner_starts"]

    def __reduce__(self) -> tuple[type[CachedImages], tuple[Path, Path]]:
        return CachedImages, (self._labels, self._cache)

    def __len__(self) -> int:
        return len(self.sizes_N2)

    def size(self, index: int) -> Size:
        height, width = self.sizes_N2[index]
        return int(height), int(width)

    def image(self, index: int) -> Image:
        """(H, W, 3), the long side `image_size`; not to be written to."""
        height, width = self.size(index)
        start = int(self._offsets[index])
        stored = self._file[start : start + int(self._bytes_N[index])]
        if len(stored) == height * width * 3:
            return stored.reshape(height, width, 3)
        return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR_RGB), np.uint8)

    def targets(self, index: int) -> Targets:
        """(N, 5) class and normalised centre box."""
        return self._targets[self._starts[index] : self._starts[index + 1]]

    @property
    def has_outlines(self) -> bool:
        """Whether any box came as a polygon."""
        return len(self._corners) > 0

    def outlines(self, index: int) -> list[Outline]:
        """The normalised outline of each target."""
        starts = self._corner_starts[self._starts[index] : self._starts[index + 1] + 1]
        return [self._corners[start:end] for start, end in pairwise(starts)]

    @cached_property
    def _file(self) -> npt.NDArray[np.uint8]:
        # Read-only: a stray write would change what every other rank sees.
        return np.memmap(self._cache, np.uint8, mode="r")


@dataclass(frozen=True)
class TrainingStatistics:
    """`relative_sides_M2`: each box's width and height as fractions of its picture's longer side, so that times the
    image size they are in pixels of the training image. `mean_longer_side` is in pixels of the original pictures,
    `images` how many there are.
    """

    names: tuple[str, ...]
    boxes_per_class: tuple[int, ...]
    relative_sides_M2: npt.NDArray[np.float64]
    mean_longer_side: float
    images: int

    def sides_at(self, image_size: int) -> npt.NDArray[np.float64]:
        """(M, 2) widths and heights of all boxes in pixels of the training image."""
        return self.relative_sides_M2 * image_size

    def share_below(self, pixels: float, image_size: int) -> float:
        """Share of the boxes that are smaller than a square of that side at an image size."""
        areas_M = self.sides_at(image_size).prod(axis=1)
        return float(np.mean(areas_M < pixels**2)) if len(areas_M) else 0.0


def training_statistics(prepared: PreparedDataset) -> TrainingStatistics:
    """From the index of the prepared training split; no pixel is read."""
    images = CachedImages(prepared.train.labels, prepared.train.cache)
    targets = [images.targets(index) for index in range(len(images))]
    image_M = np.repeat(np.arange(len(targets)), [len(rows) for rows in targets])
    image_wh_N2 = np.array([(image.width, image.height) for image in prepared.train.images], float)
    return TrainingStatistics(
        names=tuple(prepared.names),
        boxes_per_class=tuple(boxes for boxes, _ in class_counts(targets, len(prepared.names))),
        relative_sides_M2=box_sides(image_wh_N2, image_M, np.concatenate(targets)[:, 3:].astype(float), 1),
        mean_longer_side=float(np.mean([max(image.height, image.width) for image in prepared.train.images])),
        images=len(prepared.train.images),
    )


def box_sides(
    image_wh_N2: npt.NDArray[np.number], image_M: npt.NDArray[np.integer], wh_M2: npt.NDArray[np.float64], size: int
) -> npt.NDArray[np.float64]:
    """(M, 2) normalised widths and heights of boxes in images scaled so that the long side is `size` pixels."""
    scaled_N2 = size * image_wh_N2 / image_wh_N2.max(axis=1, keepdims=True)
    sides_M2: npt.NDArray[np.float64] = wh_M2 * scaled_N2[image_M]
    return sides_M2


def class_counts(targets: Sequence[Targets], classes: int) -> list[tuple[int, int]]:
    """Boxes and images per class."""
    labels = [target[:, 0].astype(int) for target in targets]
    boxes = sum((np.bincount(label, minlength=classes) for label in labels), np.zeros(classes, int))
    images = sum((np.bincount(np.unique(label), minlength=classes) for label in labels), np.zeros(classes, int))
    return [(int(b), int(i)) for b, i in zip(boxes, images, strict=True)]
