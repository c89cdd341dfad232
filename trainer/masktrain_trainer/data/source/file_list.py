"""Which files belong to a data set: the one list that zip and folder, preflight, train, val, push and the pods go by.

Hidden names, AppleDouble files and what systems leave behind are no files of a data set. Links are followed as long as
they stay below the root. Names are compared by their Unicode form NFC and without regard to case where that is
unambiguous, because file systems and tools change both on the way.
"""

from __future__ import annotations

import os
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from pathlib import Path, PurePosixPath

from masktrain_trainer.errors import InvalidDataset, printable
from masktrain_trainer.files import RESULTS_MARK

SYSTEM_CLUTTER = frozenset(
    {"__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin", "system volume information"}
    | {"@eadir", "#recycle", "@recycle", "@__thumb", "lost+found"}
)
"""What macOS, Windows, file servers and file systems put beside files, in lower case."""
LABEL_SUFFIX = ".txt"
MOST_NAMES = 4_000_000
"""Files and folders; links to folders that hold links to folders multiply."""
MOST_LINKS = 8
"""Links to folders that one path may lead through."""
SHOWN_NAMES = 3


class Why(StrEnum):
    """For what a name is left out, as a person counts it."""

    HIDDEN = "hidden, or put there by the system"
    RESULTS = "folders of results"
    OUTSIDE = "links to what is outside the data set"
    TO_HIDDEN = "links to something hidden"
    NOWHERE = "links to nothing"
    CIRCLE = "links to a folder around them"
    TOO_FAR = f"links behind {MOST_LINKS} links"
    SPECIAL = "neither files nor folders"
    UNREADABLE = "cannot be read"


_REASONS = {
    Why.HIDDEN: "is hidden or was put there by the system",
    Why.RESULTS: "holds results, not data",
    Why.OUTSIDE: "is a link to {}, outside the data set",
    Why.TO_HIDDEN: "is a link to {}, which is hidden or was put there by the system",
    Why.NOWHERE: "is a link to nothing",
    Why.CIRCLE: "is a link to {}, a folder around it",
    Why.TOO_FAR: f"is a link to {{}}, behind {MOST_LINKS} other links",
    Why.SPECIAL: "is neither a file nor a folder",
    Why.UNREADABLE: "cannot be read ({})",
}


@dataclass(frozen=True)
class LeftOut:
    """A name that the list passes over; `about`: where a link leads, or the system's words."""

    name: PurePosixPath
    why: Why
    about: str = ""

    @property
    def reason(self) -> str:
        """The rest of a sentence that begins with the name."""
        return _REASONS[self.why].format(self.about)

    @property
    def leads_out(self) -> bool:
        """Whether it is a link to what is there and is no part of the data set."""
        return self.why in (Why.OUTSIDE, Why.TO_HIDDEN)


@dataclass(frozen=True)
class FileList:
    """`files`: relative to `root`, sorted; a file that a link names, or a folder's link, is there under that name."""

    root: Path
    files: list[PurePosixPath]
    left_out: list[LeftOut]
    links: dict[PurePosixPath, PurePosixPath] = field(default_factory=dict)
    """Those of `files` that a link leads to, and where they really lie, below `root` too."""

    def path(self, name: PurePosixPath) -> Path:
        return self.root / name

    def below(self, folder: PurePosixPath) -> Iterator[PurePosixPath]:
        """The files of a folder at any depth."""
        beginning = "" if folder == PurePosixPath() else f"{folder}/"
        for position in range(bisect_left(self._texts, beginning), len(self._texts)):
            text = self._texts[position]
            if not text.startswith(beginning):
                return
            yield self._names[text]

    def find(self, name: PurePosixPath) -> PurePosixPath | None:
        """The file of that name: as it is written, else the only one that differs in Unicode form and case alone."""
        return self._find(str(name))

    def find_folder(self, name: PurePosixPath) -> PurePosixPath | None:
        """The folder of that name that holds a file at any depth, found as `find` finds files."""
        return _nearest(str(name), self._folders, self._folders_alike)

    def label_of(self, image: PurePosixPath) -> PurePosixPath | None:
        """The label file of an image: in the `labels` folder beside its last `images`, else beside the image itself;
        `x.txt`, else `x.jpg.txt`. Of an image that is a link, else the label of the file that it leads to.
        """
        found = self.label_by_name(image)
        if found is None and image in self.links:
            return self.label_by_name(self.links[image])
        return found

    def label_by_name(self, image: PurePosixPath) -> PurePosixPath | None:
        """As `label_of`, wherever a link may lead."""
        folder, slash, name = str(image).rpartition("/")
        stem = _stem(name)
        for place in _label_folders(folder):
            for wanted in (stem, name):
                found = self._find(f"{place}{slash}{wanted}{LABEL_SUFFIX}")
                if found is not None and (_stem(found.name) == wanted or self._is_alone(image)):
                    return found
        return None

    def astray(self) -> Iterator[LeftOut]:
        """What is left out although its name is nobody's clutter: links, and what cannot be read."""
        return (entry for entry in self.left_out if not is_clutter(entry.name.name))

    def remarks(self) -> list[str]:
        """A line for each reason for which names are left out: how many, and the first few."""
        groups: dict[Why, list[LeftOut]] = {}
        for entry in self.left_out:
            groups.setdefault(entry.why, []).append(entry)
        return [left_out_line(why, list(map(_shown, groups[why]))) for why in Why if why in groups]

    def _find(self, text: str) -> PurePosixPath | None:
        # Looked up first, so that the index of names alike is made only where a name is not there as it is written.
        return self._names.get(text) or _nearest(text, self._names, self._alike)

    def _is_alone(self, image: PurePosixPath) -> bool:
        """Whether no other picture could claim a label that is named a little differently from both."""
        return len(self._stems_alike.get(_loose(_stem(str(image))), ())) == 1

    @cached_property
    def _names(self) -> dict[str, PurePosixPath]:
        return {str(name): name for name in self.files}

    @cached_property
    def _texts(self) -> list[str]:
        # As text and not by its parts: so the files of a folder stand together, whatever it is called.
        return sorted(self._names)

    @cached_property
    def _alike(self) -> dict[str, list[PurePosixPath]]:
        return _by_loose_name(self._names)

    @cached_property
    def _folders(self) -> dict[str, PurePosixPath]:
        direct = {text.rpartition("/")[0] for text in self._names}
        found = {PurePosixPath(text) for text in direct}
        around = {parent for folder in found for parent in folder.parents}
        return {str(folder): folder for folder in found | around}

    @cached_property
    def _folders_alike(self) -> dict[str, list[PurePosixPath]]:
        return _by_loose_name(self._folders)

    @cached_property
    def _stems_alike(self) -> dict[str, set[str]]:
        """All but labels, without their endings."""
        index: dict[str, set[str]] = {}
        for text in self._names:
            if not text.lower().endswith(LABEL_SUFFIX):
                stem = _stem(text)
                index.setdefault(_loose(stem), set()).add(stem)
        return index


def list_files(root: Path) -> FileList:
    """Walk the folder `root`. Raises InvalidDataset if it cannot be read, or has no end."""
    walk = _Walk(root.resolve())
    waiting = [_Folder(walk.top, "", None, 0)]
    while waiting:
        waiting += walk.look_into(waiting.pop())
    links = {PurePosixPath(name): real for name, real in walk.links.items()}
    # As text: Python compares paths part by part, which takes seconds for a hundred thousand.
    files = [PurePosixPath(name) for name in sorted(walk.files)]
    return FileList(walk.top, files, sorted(walk.left_out, key=lambda entry: str(entry.name)), links)


def usual_label(image: PurePosixPath) -> PurePosixPath:
    """Where YOLOv5 looks for the label of an image, whether there is one or not."""
    return PurePosixPath(next(_label_folders(str(image.parent)))) / f"{_stem(image.name)}{LABEL_SUFFIX}"


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data."""
    return name.startswith(".") or name.lower() in SYSTEM_CLUTTER


def left_out_line(why: str, names: list[str]) -> str:
    """What is left out for one reason, on one line."""
    return printable(f"left out, {why}: {len(names)} ({few(names)})")


def few(names: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    names = list(names)
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


@dataclass(frozen=True)
class _Folder:
    """A folder on the walk's way: where it really lies, its name below the root with a slash at its end, and how many
    links lead there.
    """

    real: Path
    name: str
    outer: _Folder | None
    links: int

    def lies_in(self, real: Path) -> bool:
        folder: _Folder | None = self
        while folder is not None:
            if folder.real == real:
                return True
            folder = folder.outer
        return False


class _Walk:
    """What was seen so far below `top`, a path without links."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.files: list[str] = []
        self.links: dict[str, PurePosixPath] = {}
        self.left_out: list[LeftOut] = []
        self._seen = 0

    def look_into(self, folder: _Folder) -> list[_Folder]:
        """Take up what the folder holds; returns the folders in it."""
        try:
            with os.scandir(folder.real) as entries:
                found = list(entries)
        except OSError as error:
            if folder.outer is None:
                raise InvalidDataset(f"{folder.real} cannot be read: {error.strerror}.") from None
            self._leave(folder.name.rstrip("/"), Why.UNREADABLE, error.strerror or "")
            return []
        if folder.outer is not None and any(entry.name == RESULTS_MARK for entry in found):
            self._leave(folder.name.rstrip("/"), Why.RESULTS)
            return []
        self._seen += len(found)
        if self._seen > MOST_NAMES:
            raise InvalidDataset(
                f"{self.top} holds more than {MOST_NAMES:,} files; give the folder that holds the data set alone."
            )
        inner = (self._take(entry, f"{folder.name}{entry.name}", folder) for entry in found)
        return [each for each in inner if each is not None]

    def _take(self, entry: os.DirEntry[str], name: str, folder: _Folder) -> _Folder | None:
        """A folder to look into, if it is one."""
        if is_clutter(entry.name):
            self._leave(name, Why.HIDDEN)
        elif entry.is_symlink():
            return self._follow(folder.real / entry.name, name, folder)
        elif entry.is_dir(follow_symlinks=False):
            real = folder.real / entry.name
            # Behind a link even a plain folder may be one that leads here.
            if not folder.links or not folder.lies_in(real):
                return _Folder(real, f"{name}/", folder, folder.links)
            self._leave(name, Why.CIRCLE, str(real))
        elif not entry.is_file(follow_symlinks=False):
            self._leave(name, Why.SPECIAL)
        else:
            self.files.append(name)
            if folder.links:
                self.links[name] = self._below_top(folder.real / entry.name)
        return None

    def _follow(self, link: Path, name: str, folder: _Folder) -> _Folder | None:
        try:
            real = Path(os.path.realpath(link, strict=True))
            objection = self._objection(real, folder)
        except PermissionError as error:
            real, objection = Path(error.strerror or "?"), Why.UNREADABLE
        except OSError:  # nothing is there, or links that lead to each other
            real, objection = link.readlink(), Why.NOWHERE
        if objection is not None:
            self._leave(name, objection, str(real))
        elif real.is_dir():
            return _Folder(real, f"{name}/", folder, folder.links + 1)
        else:
            self.files.append(name)
            self.links[name] = self._below_top(real)
        return None

    def _objection(self, real: Path, folder: _Folder) -> Why | None:
        """Why a link in `folder` is not followed to `real`."""
        if not real.is_relative_to(self.top):
            return Why.OUTSIDE
        if any(map(is_clutter, real.relative_to(self.top).parts)):
            return Why.TO_HIDDEN
        if not real.is_dir():
            return None if real.is_file() else Why.SPECIAL
        if folder.lies_in(real):
            return Why.CIRCLE
        return Why.TOO_FAR if folder.links == MOST_LINKS else None

    def _leave(self, name: str, why: Why, about: str = "") -> None:
        self.left_out.append(LeftOut(PurePosixPath(name), why, about))

    def _below_top(self, real: Path) -> PurePosixPath:
        return PurePosixPath(real.relative_to(self.top).as_posix())


def _nearest(text: str, names: dict[str, PurePosixPath], alike: dict[str, list[PurePosixPath]]) -> PurePosixPath | None:
    if text in names:
        return names[text]
    found = alike.get(_loose(text), [])
    # A name in another Unicode form or with another ending's case is nearer than one in another case altogether.
    near = [name for name in found if _folded(str(name)) == _folded(text)] or found
    return near[0] if len(near) == 1 else None


def _by_loose_name(names: dict[str, PurePosixPath]) -> dict[str, list[PurePosixPath]]:
    index: dict[str, list[PurePosixPath]] = {}
    for text, name in names.items():
        index.setdefault(_loose(text), []).append(name)
    return index


def _folded(text: str) -> str:
    """In NFC, the ending in lower case."""
    stem = _stem(text)
    return unicodedata.normalize("NFC", stem) + text[len(stem) :].lower()


def _loose(text: str) -> str:
    """In NFC and without case."""
    return unicodedata.normalize("NFC", text).casefold()


def _stem(text: str) -> str:
    """A name or path without its ending."""
    stem, dot, ending = text.rpartition(".")
    return stem if dot and stem and "/" not in ending and not stem.endswith("/") else text


def _label_folders(folder: str) -> Iterator[str]:
    """Where the labels of a folder's images may lie: the last `images` is called `labels`, or it is the folder."""
    parts = folder.split("/")
    exact = [position for position, part in enumerate(parts) if part == "images"]
    loose = [position for position, part in enumerate(parts) if part.casefold() == "images"]
    for position in dict.fromkeys((*exact[-1:], *loose[-1:])):
        yield "/".join((*parts[:position], "labels", *parts[position + 1 :]))
    yield folder


def _shown(entry: LeftOut) -> str:
    return f"{entry.name} -> {entry.about}" if entry.about else str(entry.name)
