"""Decoded images in one file that all ranks of a pod map into memory.

Every image has a slot of the largest size it can have; the file is sparse, so an unused rest of a slot takes no space.
The kernel keeps one copy of the pages for all processes.
"""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .arrays import Image, Size, Targets
from .outlines import Outline

PAGE = 4096
_NO_CORNERS = np.zeros((0, 2), np.float32)


def slot_bytes(image_size: int) -> int:
    return -(-3 * image_size * image_size // PAGE) * PAGE


def create_cache(path: Path, slots: int, image_size: int) -> None:
    """Make a sparse file with room for `slots` images whose long side is `image_size`."""
    with path.open("wb") as file:
        file.truncate(slots * slot_bytes(image_size))


def store_image(path: Path, slot: int, image_HWC: Image, image_size: int) -> None:
    """Write one image into its slot; processes may do so at the same time."""
    with path.open("r+b", buffering=0) as file:
        file.seek(slot * slot_bytes(image_size))
        file.write(np.ascontiguousarray(image_HWC).data)


def save_index(
    path: Path,
    *,
    slots_N: npt.NDArray[np.int64],
    sizes_N2: npt.NDArray[np.int64],
    targets: list[Targets],
    outlines: list[list[Outline]] | None = None,
    image_size: int,
) -> None:
    """Write the index of a cache: slot and size of each image, all boxes with the row each image starts at, and the
    corners of all outlines with the row each box's start at.
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
        """Read-only view (H, W, 3), the long side `image_size`."""
        height, width = self.size(index)
        start = int(self._offsets[index])
        return self._pixels[start : start + height * width * 3].reshape(height, width, 3)

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
    def _pixels(self) -> npt.NDArray[np.uint8]:
        return np.memmap(self._cache, np.uint8, mode="r")
