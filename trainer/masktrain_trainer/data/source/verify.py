"""Decode and check every image and its labels once, in parallel, and keep the pixels of the good ones.

An image with any violation is left out, counted and named; a split without a usable image cannot be trained on.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from masktrain_trainer.errors import InvalidDataset, printable

from ..augmentation import Outline
from ..geometry import Size, Targets, fit_long_side
from ..prepared import ImageRecord, Split, create_cache, save_index, store_image
from .labels import LabelViolation, label_path, read_labels
from .pictures import SMALLEST_SIDE, UnreadablePicture, read_picture

IMAGES_PER_TASK = 16
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Rules:
    """What the processes need to know to inspect an image."""

    classes: int
    image_size: int
    area_when_shrinking: bool
    cache: Path
    compress: bool
    single_class: bool


@dataclass(frozen=True)
class Inspected:
    """A usable image."""

    original: Size
    cached: Size
    stored_bytes: int
    targets: Targets
    outlines: list[Outline]
    duplicates: int


@dataclass(frozen=True)
class VerifiedSplit:
    split: Split
    targets: list[Targets]
    """Per usable image."""
    skipped: list[str]
    """One sentence for each image left out."""
    duplicates: int
    """Label rows left out because they were there twice."""


def verify_split(
    split: str,
    images: list[Path],
    *,
    root: Path,
    output: Path,
    classes: int,
    image_size: int,
    compress: bool = False,
    single_class: bool = False,
    processes: int,
    say: Callable[[str], None],
) -> VerifiedSplit:
    """Inspect the images of one split of the data set at `root` and write its cache and index into `output`.

    With `single_class` every box becomes class 0, whatever class its label says; with `compress` the cache holds JPEGs.
    Raises InvalidDataset when no image is usable.
    """
    rules = Rules(
        classes,
        image_size,
        area_when_shrinking=split != "train",
        cache=output / f"{split}.pixels",
        compress=compress,
        single_class=single_class,
    )
    # Also for images that will be left out: slots are needed before that is known, and a hole costs nothing.
    create_cache(rules.cache, len(images), image_size)
    names = [printable(image.relative_to(root.resolve()).as_posix()) for image in images]
    results = list(_reported(_inspect_all(images, rules, processes), len(images), split, say))
    good = [(slot, result) for slot, result in enumerate(results) if isinstance(result, Inspected)]
    skipped = [
        f"{name} is skipped: {result}." for name, result in zip(names, results, strict=True) if isinstance(result, str)
    ]
    if not good:
        raise InvalidDataset(f"None of the {len(images)} {split} images can be used; the first: {skipped[0]}")
    save_index(
        output / f"{split}.npz",
        slots_N=np.array([slot for slot, _ in good]),
        sizes_N2=np.array([result.cached for _, result in good]),
        bytes_N=np.array([result.stored_bytes for _, result in good]),
        targets=[result.targets for _, result in good],
        outlines=[result.outlines for _, result in good],
        image_size=image_size,
    )
    records = [_record(names[slot], images[slot], result) for slot, result in good]
    described = Split(images=records, labels=output / f"{split}.npz", cache=rules.cache)
    return VerifiedSplit(described, [r.targets for _, r in good], skipped, sum(r.duplicates for _, r in good))


def inspect(item: tuple[int, Path], rules: Rules) -> Inspected | str:
    """Check one image (slot, path) and store its pixels; returns the violation, if any, as text."""
    slot, path = item
    image = read_picture(path, smallest_side=SMALLEST_SIDE)
    if isinstance(image, UnreadablePicture):
        return image.reason
    try:
        labels = read_labels(label_path(path), rules.classes)
    except LabelViolation as violation:
        return str(violation)
    # After the check: a class that data.yaml does not name is a mistake, whatever it would become.
    if rules.single_class:
        labels.targets[:, 0] = 0
    fitted = fit_long_side(image, rules.image_size, area_when_shrinking=rules.area_when_shrinking)
    stored = store_image(rules.cache, slot, fitted, rules.image_size, compress=rules.compress)
    return Inspected(
        _size(image.shape), _size(fitted.shape), stored, labels.targets, labels.outlines, labels.duplicates
    )


def _inspect_all(images: list[Path], rules: Rules, processes: int) -> Iterator[Inspected | str]:
    check = partial(inspect, rules=rules)
    # For so few images it takes longer to start processes than to look at them.
    if processes == 1 or len(images) <= IMAGES_PER_TASK:
        yield from map(check, enumerate(images))
        return
    # Not fork: the caller may have threads. Not spawn: each process would import everything anew.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # One thread for OpenCV in each process, or processes times cores of them would fight for the cores.
    with ProcessPoolExecutor(processes, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(check, enumerate(images), chunksize=IMAGES_PER_TASK)


def _reported(
    results: Iterable[Inspected | str], total: int, split: str, say: Callable[[str], None]
) -> Iterator[Inspected | str]:
    """Pass results on and say now and then how far they are."""
    start = said = time.monotonic()
    done = 0
    for done, result in enumerate(results, 1):
        now = time.monotonic()
        if now - said >= SECONDS_BETWEEN_LINES:
            said = now
            say(f"{split}: {done} of {total} images checked ({done / (now - start):.0f} images/s)")
        yield result
    say(f"{split}: {done} images checked and decoded in {time.monotonic() - start:.1f} s")


def _size(shape: tuple[int, ...]) -> Size:
    return shape[0], shape[1]


def _record(name: str, path: Path, result: Inspected) -> ImageRecord:
    return ImageRecord(name=name, path=path, height=result.original[0], width=result.original[1])
