"""What became of a split's images, labels and label rows: the account that pods, `preflight`, `push` and `val` print.

Nothing is left out in silence: it is counted here, the first few by name. What no honest data set has is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from masktrain_trainer.config import SplitCounts
from masktrain_trainer.errors import InvalidDataset, printable

from .file_list import LABEL_SUFFIX, FileList
from .labels import BOX_COLUMNS
from .pictures import READ_SUFFIXES

MOST_NAMES = 3
"""Names that a line shows of a longer list."""
STRAY_IMAGES, STRAY_SHARE = 1, 0.01
"""So many images, or this share of those with labels, may have rows of a class without a name: then they are slips."""
SUSPICIOUS_SHARE = 0.1
"""Of a split's images without label file, from which on it is a warning and not only a line."""
LABEL_PLACE = (
    "the label of train/images/x.jpg belongs in train/labels/x.txt, with one line 'class x y width height' for each "
    "object"
)
SPLIT_WORDS = {
    "train": frozenset({"train", "training"}),
    "val": frozenset({"val", "valid", "validation"}),
    "test": frozenset({"test", "testing"}),
}
"""Folders by which a file without image is taken for a split's."""
NO_IMAGES = frozenset(
    {LABEL_SUFFIX, ".yaml", ".yml", ".json", ".xml", ".csv", ".md", ".html"}
    | {".cache", ".npy", ".npz", ".names", ".data", ".log", ".ini", ".py", ".zip", ".pt", ".db"}
)
"""Endings of what lies beside images without being one; anything else there is taken for an image in another format."""
FIRST_ROW = 4096
"""Bytes in which the first row of a label file is looked for."""


@dataclass(frozen=True)
class UnnamedClasses:
    """Rows of classes above those that data.yaml names: the highest, where it stands, and how many images have any."""

    highest: float
    place: str
    images: int


@dataclass(frozen=True)
class SplitAccount:
    """Each image is in one of `labelled`, `unlabelled` and `empty`; what is skipped is in one of them, too.

    Lists of names and sentences are in the images' order. Of rows `dropped` has the number, `dropped_rows` sentences
    about the first of each file.
    """

    split: str
    labelled: int = 0
    unlabelled: list[str] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    orphans: list[str] = field(default_factory=list)
    """Label files without an image."""
    unread: list[str] = field(default_factory=list)
    """Files that look like the split's and are not read, with the reason."""
    skipped: list[str] = field(default_factory=list)
    """A sentence for each image that is left out."""
    without_usable_row: list[str] = field(default_factory=list)
    """Those of the skipped of whose label no row can be used."""
    dropped: int = 0
    dropped_rows: list[str] = field(default_factory=list)
    duplicates: int = 0
    clipped: int = 0
    keypoints: int = 0
    classes: frozenset[int] = frozenset()
    """Those that have a box."""
    unnamed: UnnamedClasses | None = None
    shared: list[str] = field(default_factory=list)
    """A sentence for each other split that has some of the same images, byte for byte."""

    @property
    def images(self) -> int:
        return self.labelled + len(self.unlabelled) + len(self.empty)

    def counts(self) -> SplitCounts:
        return SplitCounts(
            split=self.split,
            labelled=self.labelled,
            without_label=len(self.unlabelled),
            empty_label=len(self.empty),
            label_without_image=len(self.orphans),
            skipped_images=len(self.skipped),
            dropped_rows=self.dropped,
        )

    def lines(self) -> list[str]:
        """The four counts, and what was not taken as it is, for a log; sentences about single images are not here."""
        return [f"{self.split}: {line}" for line in (self._four_counts(), *self._notes())]

    def oddities(self) -> list[str]:
        """What a person should look at, before the sentences of single images and rows."""
        found = list(self.shared)
        if len(self.unlabelled) > SUSPICIOUS_SHARE * self.images:
            found.append(
                f"{len(self.unlabelled)} of {self.images} {self.split} images have no label file and count as images "
                f"without objects: {listed(self.unlabelled)}."
            )
        if self.orphans:
            found.append(
                f"{_number(len(self.orphans), 'label')} of {self.split} without image: {listed(self.orphans)}."
            )
        if self.unread:
            found.append(f"{_number(len(self.unread), 'file')} of {self.split} not read: {listed(self.unread)}.")
        return found

    def _four_counts(self) -> str:
        return (
            f"{_number(self.images, 'image')}: {self.labelled} labelled, {len(self.unlabelled)} without label"
            f"{_named(self.unlabelled)}, {len(self.empty)} with an empty label{_named(self.empty)}; "
            f"{_number(len(self.orphans), 'label')} without image{_named(self.orphans)}"
        )

    def _notes(self) -> list[str]:
        """What is not zero."""
        notes = [
            (len(self.skipped), f"{_number(len(self.skipped), 'image')} skipped"),
            (self.dropped, f"{_number(self.dropped, 'label row')} dropped"),
            (self.duplicates, f"{_number(self.duplicates, 'label row')} left out that was there already"),
            (self.clipped, f"{_number(self.clipped, 'box', 'boxes')} clipped at the edges of the picture"),
            (self.keypoints, f"{_number(self.keypoints, 'label row')} with key points, of which the box is taken"),
            (len(self.unread), f"{_number(len(self.unread), 'file')} not read{_named(self.unread)}"),
        ]
        return [line for count, line in notes if count]


@dataclass(frozen=True)
class Beside:
    """Files that belong to a split and are no images of it."""

    orphans: list[str]
    """Label files without image."""
    unread: list[str]
    """Files that may be images and links that lead nowhere, with the reason."""


def files_beside(files: FileList, images: Mapping[str, list[Path]]) -> dict[str, Beside]:
    """Per split what looks like a part of it and is none: labels without image, unknown endings, broken links."""
    names = {split: [name_of(path, files) for path in paths] for split, paths in images.items()}
    folders = {split: _folders(files, own) for split, own in names.items()}
    beside_images = {name.parent for own in names.values() for name in own}
    found = {split: Beside([], []) for split in images}
    claimed = set[PurePosixPath]()
    for name in files.files:
        if name.suffix.lower() in NO_IMAGES:
            continue
        if (label := files.label_of(name)) is not None:
            claimed.add(label)
        if name.suffix.lower() not in READ_SUFFIXES and (label is not None or name.parent in beside_images):
            reason = f"the ending {name.suffix} is not read" if name.suffix else "it has no ending"
            found[_home(name, folders)].unread.append(printable(f"{name} ({reason})"))
    for entry in files.astray():
        found[_home(entry.name, folders)].unread.append(printable(f"{entry.name} ({entry.reason})"))
    for name in files.files:
        if name.suffix.lower() == LABEL_SUFFIX and name not in claimed and _begins_with_a_row(files.path(name)):
            found[_home(name, folders)].orphans.append(printable(str(name)))
    return found


def name_of(image: Path, files: FileList) -> PurePosixPath:
    return PurePosixPath(image.relative_to(files.root).as_posix())


def _folders(files: FileList, images: Sequence[PurePosixPath]) -> set[PurePosixPath]:
    """Those of the images and of their labels."""
    labels = [label for name in images if (label := files.label_of(name)) is not None]
    return {name.parent for name in (*images, *labels)}


def _home(name: PurePosixPath, folders: Mapping[str, set[PurePosixPath]]) -> str:
    """The split in whose folders a file lies, else the one that its path names, else the first."""
    words = {part.lower() for part in name.parts}
    by_folder = [split for split, own in folders.items() if name.parent in own]
    by_word = [split for split in folders if words & SPLIT_WORDS.get(split, frozenset())]
    return next(iter((*by_folder, *by_word, *folders)))


def _begins_with_a_row(path: Path) -> bool:
    """Whether a text file looks like labels: lists of images, names of classes and readmes begin with no numbers."""
    if not path.is_file():  # a pipe would be waited for
        return False
    with path.open("rb") as file:
        text = file.read(FIRST_ROW).decode("utf-8-sig", errors="replace")
    first = next((line.split() for line in text.splitlines() if line.strip()), [])
    return len(first) >= BOX_COLUMNS and all(map(_is_number, first[:BOX_COLUMNS]))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    rest = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {rest} more" if rest > 0 else "")


def class_problem(accounts: Collection[SplitAccount], classes: int) -> str | None:
    """Why the labels' classes cannot be those of data.yaml, if they cannot: names would be shifted, or are missing.

    A few rows in a few images are slips, and dropped.
    """
    found = [account.unnamed for account in accounts if account.unnamed is not None]
    if not found:
        return None
    highest, images = max(found, key=lambda unnamed: unnamed.highest), sum(unnamed.images for unnamed in found)
    labelled = sum(account.labelled for account in accounts)
    named = f"classes 0 to {classes - 1}" if classes > 1 else "class 0 only"
    start = (
        f"The labels do not fit data.yaml, which names {named}: class {highest.highest:.15g} exceeds nc {classes} "
        f"({highest.place})"
    )
    if highest.highest == classes and not any(0 in account.classes for account in accounts):
        return (
            f"{start}, and class 0 never occurs: numbered from 1? Subtract 1 from the class of each label row, or "
            "correct 'names'."
        )
    if images > STRAY_IMAGES and images > STRAY_SHARE * labelled:
        return (
            f"{start}, and so it is in {images} of {labelled} labelled images; name all classes, or correct the labels "
            "(training.singleClass takes any number)."
        )
    return None


def refuse_unnamed_classes(accounts: Collection[SplitAccount], classes: int) -> None:
    """Raise InvalidDataset if the labels' classes are not those that data.yaml names."""
    if (problem := class_problem(accounts, classes)) is not None:
        raise InvalidDataset(problem)


def why_without_boxes(account: SplitAccount) -> str:
    """The rest of a sentence that began with a split that has no box."""
    reasons = []
    if account.without_usable_row:
        skipped, first = len(account.without_usable_row), account.without_usable_row[0].rstrip(".")
        reasons.append(f"{skipped} of {account.labelled} labels are skipped, the first: {first}")
    elif account.skipped:
        reasons.append(f"{_number(len(account.skipped), 'image')} skipped, the first: {account.skipped[0].rstrip('.')}")
    if account.dropped_rows and not account.without_usable_row:
        reasons.append(
            f"{_number(account.dropped, 'label row')} dropped, the first: {account.dropped_rows[0].rstrip('.')}"
        )
    if account.unlabelled:
        reasons.append(f"{len(account.unlabelled)} of {account.images} images have no label file")
    if account.empty:
        reasons.append(f"{len(account.empty)} of {account.images} images have an empty label file")
    if account.orphans:
        reasons.append(f"{_number(len(account.orphans), 'label')} without image: {listed(account.orphans)}")
    return "; ".join(reasons)


def _number(count: int, word: str, plural: str | None = None) -> str:
    return f"{count} {word if count == 1 else plural or f'{word}s'}"


def _named(names: Sequence[str]) -> str:
    return f" ({listed(names)})" if names else ""
