"""Decode and check every image and its labels once, in parallel, and keep the pixels of the good ones.

An image with a violation is left out, a label row that cannot be read is dropped; each is counted and named in the
split's account. A split without a usable image cannot be trained on.
"""

from __future__ import annotations

import dataclasses
import multiprocessing
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from masktrain_trainer.errors import InvalidDataset, printable
from masktrain_trainer.files import sha256_of

from ..geometry import Size, Targets, fit_long_side
from ..prepared import ImageRecord, Split, create_cache, save_index, store_image
from .account import (
    Beside,
    SplitAccount,
    UnnamedClasses,
    class_problem,
    files_beside,
    listed,
    name_of,
    refuse_unnamed_classes,
)
from .data_yaml import SPLITS
from .file_list import FileList, list_files
from .labels import Labels, LabelViolation, parse_labels, read_labels
from .pictures import SMALLEST_SIDE, UnreadablePicture, decode_picture, read_content

IMAGES_PER_TASK = 16
SECONDS_BETWEEN_LINES = 5.0


@dataclass(frozen=True)
class Rules:
    """What the processes need to know to inspect an image."""

    classes: int | None
    """Number of classes, None if any number is taken."""
    keypoint_columns: int | None
    image_size: int
    area_when_shrinking: bool
    cache: Path
    compress: bool


@dataclass(frozen=True)
class Item:
    slot: int
    image: Path
    label: Path | None


@dataclass(frozen=True)
class Stored:
    original: Size
    cached: Size
    bytes: int


@dataclass(frozen=True)
class Inspected:
    """An image, usable if it is `stored`; else `violation` says why not, as the rest of a sentence."""

    labels: Labels
    is_labelled: bool
    """Whether its label file has rows, or cannot be read at all."""
    digest: str = ""
    """SHA-256 of its file."""
    stored: Stored | None = None
    violation: str = ""
    has_bad_label: bool = False
    """Whether its label alone would have it skipped."""


@dataclass(frozen=True)
class Usable:
    name: str
    item: Item
    result: Inspected
    stored: Stored

    def record(self) -> ImageRecord:
        height, width = self.stored.original
        return ImageRecord(name=self.name, path=self.item.image, height=height, width=width)


@dataclass(frozen=True)
class VerifiedSplit:
    split: Split
    targets: list[Targets]
    """Per usable image."""
    digests: list[str]
    """SHA-256 of the file of each usable image."""
    account: SplitAccount

    @property
    def skipped(self) -> list[str]:
        """One sentence for each image left out."""
        return self.account.skipped


def verify_splits(
    images: Mapping[str, list[Path]],
    files: FileList,
    *,
    output: Path,
    classes: int,
    image_size: int,
    chosen: Collection[str] = SPLITS,
    compressed: Collection[str] = (),
    single_class: bool = False,
    keypoint_columns: int | None = None,
    processes: int,
    say: Callable[[str], None],
) -> dict[str, VerifiedSplit]:
    """Inspect the chosen ones of all splits of the data set of `files`; the pixels of `compressed` ones become JPEGs.

    Raises InvalidDataset when a split has no usable image, or its labels have other classes than data.yaml.
    """
    beside = files_beside(files, images)
    verified = {
        split: verify_split(
            split,
            images[split],
            root=files.root,
            output=output,
            classes=classes,
            image_size=image_size,
            compress=split in compressed,
            single_class=single_class,
            keypoint_columns=keypoint_columns,
            files=files,
            beside=beside[split],
            processes=processes,
            say=say,
        )
        for split in images
        if split in chosen
    }
    refuse_unnamed_classes([result.account for result in verified.values()], classes)
    return _with_shared_images(verified)


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
    keypoint_columns: int | None = None,
    files: FileList | None = None,
    beside: Beside | None = None,
    processes: int,
    say: Callable[[str], None],
) -> VerifiedSplit:
    """Inspect the images of one split of the data set at `root` and write its cache and index into `output`.

    With `single_class` every box becomes class 0, whatever class its label says; with `compress` the cache holds JPEGs.
    `files` and `beside` are those of the whole data set, if they are known. Raises InvalidDataset when no image is
    usable.
    """
    files = files or list_files(root)
    rules = Rules(
        None if single_class else classes,
        keypoint_columns,
        image_size,
        area_when_shrinking=split != "train",
        cache=output / f"{split}.pixels",
        compress=compress,
    )
    # Also for images that will be left out: slots are needed before that is known, and a hole costs nothing.
    create_cache(rules.cache, len(images), image_size)
    names = [name_of(image, files) for image in images]
    shown, labels = [printable(str(name)) for name in names], [files.label_of(name) for name in names]
    items = [
        Item(slot, image, None if label is None else files.path(label))
        for slot, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    results = list(_reported(_inspect_all(items, rules, processes), len(items), split, say))
    beside = beside or files_beside(files, {split: images})[split]
    account = _account(split, shown, labels, results, beside)
    for line in account.lines():
        say(line)
    good = [
        Usable(name, item, result, result.stored)
        for name, item, result in zip(shown, items, results, strict=True)
        if result.stored
    ]
    if not good:
        raise InvalidDataset(
            class_problem([account], classes)
            or f"None of the {len(images)} {split} images can be used; the first: {account.skipped[0]}"
        )
    described = _save(good, output / f"{split}.npz", rules)
    targets = [image.result.labels.targets for image in good]
    return VerifiedSplit(described, targets, [image.result.digest for image in good], account)


def _save(good: list[Usable], index: Path, rules: Rules) -> Split:
    save_index(
        index,
        slots_N=np.array([image.item.slot for image in good]),
        sizes_N2=np.array([image.stored.cached for image in good]),
        bytes_N=np.array([image.stored.bytes for image in good]),
        targets=[image.result.labels.targets for image in good],
        outlines=[image.result.labels.outlines for image in good],
        image_size=rules.image_size,
    )
    return Split(images=[image.record() for image in good], labels=index, cache=rules.cache)


def inspect(item: Item, rules: Rules) -> Inspected:
    """Check one image and store its pixels."""
    seen = _with_labels(item, rules)
    content = read_content(item.image)
    if isinstance(content, UnreadablePicture):
        return dataclasses.replace(seen, violation=content.reason)
    image = decode_picture(content, smallest_side=SMALLEST_SIDE)
    if isinstance(image, UnreadablePicture):
        return dataclasses.replace(seen, violation=image.reason)
    if seen.violation:
        return seen
    # After the check: a class that data.yaml does not name is a mistake, whatever it would become.
    if rules.classes is None:
        seen.labels.targets[:, 0] = 0
    fitted = fit_long_side(image, rules.image_size, area_when_shrinking=rules.area_when_shrinking)
    stored = store_image(rules.cache, item.slot, fitted, rules.image_size, compress=rules.compress)
    return dataclasses.replace(
        seen, digest=sha256_of(content), stored=Stored(_size(image.shape), _size(fitted.shape), stored)
    )


def _with_labels(item: Item, rules: Rules) -> Inspected:
    try:
        labels = read_labels(item.label, rules.classes, rules.keypoint_columns)
    except LabelViolation as problem:
        return Inspected(parse_labels("", None), is_labelled=True, violation=str(problem), has_bad_label=True)
    if not labels.hides_objects:
        return Inspected(labels, is_labelled=labels.rows > 0)
    return Inspected(labels, is_labelled=True, violation=_no_usable_row(labels), has_bad_label=True)


def _no_usable_row(labels: Labels) -> str:
    first = labels.examples[0]
    others = f", and none of the {labels.dropped} rows can be used" if labels.dropped > 1 else ""
    return f"line {first.line} of its labels {first.reason}{others}"


def _account(
    split: str,
    names: list[str],
    labels: Sequence[PurePosixPath | None],
    results: Sequence[Inspected],
    beside: Beside,
) -> SplitAccount:
    every = list(zip(names, labels, results, strict=True))
    skipped = [(f"{name} is skipped: {result.violation}.", result) for name, _, result in every if not result.stored]
    # What is skipped has its own sentence, which its rows are a part of.
    kept = [(label, result.labels) for _, label, result in every if result.stored]
    return SplitAccount(
        split,
        labelled=sum(result.is_labelled for result in results),
        unlabelled=[name for name, label, result in every if label is None],
        empty=[name for name, label, result in every if label is not None and not result.is_labelled],
        orphans=beside.orphans,
        unread=beside.unread,
        skipped=[sentence for sentence, _ in skipped],
        without_usable_row=[sentence for sentence, result in skipped if result.has_bad_label],
        dropped=sum(found.dropped for _, found in kept),
        dropped_rows=[
            f"Line {row.line} of {printable(str(label))} is dropped: it {row.reason}."
            for label, found in kept
            for row in found.examples
        ],
        duplicates=sum(found.duplicates for _, found in kept),
        clipped=sum(found.clipped for _, found in kept),
        keypoints=sum(found.keypoints for _, found in kept),
        classes=frozenset(int(number) for _, found in kept for number in np.unique(found.targets[:, 0])),
        unnamed=_unnamed_classes([(label, result.labels) for _, label, result in every]),
    )


def _unnamed_classes(labels: Sequence[tuple[PurePosixPath | None, Labels]]) -> UnnamedClasses | None:
    found = [(unnamed.number, unnamed.line, label) for label, of in labels if (unnamed := of.unnamed) is not None]
    if not found:
        return None
    highest, line, label = max(found, key=lambda place: place[0])
    return UnnamedClasses(highest, printable(f"line {line} of {label}"), len(found))


def _with_shared_images(verified: dict[str, VerifiedSplit]) -> dict[str, VerifiedSplit]:
    """With a sentence in the account of each split that has images of one before it."""
    told: dict[str, VerifiedSplit] = {}
    for split, result in verified.items():
        shared = [_shared((split, result), before) for before in verified.items() if before[0] in told]
        account = dataclasses.replace(result.account, shared=[sentence for sentence in shared if sentence])
        told[split] = dataclasses.replace(result, account=account)
    return told


def _shared(split: tuple[str, VerifiedSplit], before: tuple[str, VerifiedSplit]) -> str:
    (name, own), (earlier, others) = split, before
    known = {digest: image.name for digest, image in zip(others.digests, others.split.images, strict=True)}
    pairs = [
        image.name if image.name == known[digest] else f"{image.name} = {known[digest]}"
        for digest, image in zip(own.digests, own.split.images, strict=True)
        if digest in known
    ]
    if not pairs:
        return ""
    return (
        f"{len(pairs)} of {len(own.digests)} {name} images are {earlier} images, too, byte for byte ({listed(pairs)}): "
        "scores on them say little about new images."
    )


def _inspect_all(items: list[Item], rules: Rules, processes: int) -> Iterator[Inspected]:
    check = partial(inspect, rules=rules)
    # For so few images it takes longer to start processes than to look at them.
    if processes == 1 or len(items) <= IMAGES_PER_TASK:
        yield from map(check, items)
        return
    # Not fork: the caller may have threads. Not spawn: each process would import everything anew.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    # One thread for OpenCV in each process, or processes times cores of them would fight for the cores.
    with ProcessPoolExecutor(processes, context, initializer=cv2.setNumThreads, initargs=(1,)) as pool:
        yield from pool.map(check, items, chunksize=IMAGES_PER_TASK)


def _reported(results: Iterable[Inspected], total: int, split: str, say: Callable[[str], None]) -> Iterator[Inspected]:
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
