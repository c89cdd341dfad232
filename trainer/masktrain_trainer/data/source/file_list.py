"""Which files belong to a data set: the one list that zip and folder, preflight, train, val, push and the pods go by.

Hidden names, AppleDouble files and what systems leave behind are no files of a data set. Links are followed as long as
they stay below the root. Names are compared by their Unicode form NFC and endings without regard to case, because file
systems and tools change both on the way.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from masktrain_trainer.files import RESULTS_MARK

SYSTEM_CLUTTER = frozenset({"__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"})
"""What macOS and Windows put beside files."""
LABEL_SUFFIX = ".txt"


@dataclass(frozen=True)
class LeftOut:
    """A name that the list passes over. `reason` is the rest of a sentence that begins with the name."""

    name: PurePosixPath
    reason: str


@dataclass(frozen=True)
class FileList:
    """`files`: relative to `root`, sorted; a file that a link names is there under the link's name."""

    root: Path
    files: list[PurePosixPath]
    left_out: list[LeftOut]

    def path(self, name: PurePosixPath) -> Path:
        return self.root / name

    def below(self, folder: PurePosixPath) -> Iterator[PurePosixPath]:
        """The files of a folder at any depth."""
        yield from (name for name in self.files if folder in name.parents)

    def find(self, name: PurePosixPath) -> PurePosixPath | None:
        """The file of that name: as it is written, else the only one that is equal once both are folded."""
        alike = self._folded.get(folded(name), [])
        if name in alike:
            return name
        return alike[0] if len(alike) == 1 else None

    def label_of(self, image: PurePosixPath) -> PurePosixPath | None:
        """The label file of an image: in the `labels` folder beside its last `images`, else beside the image itself;
        `x.txt`, else `x.jpg.txt`.
        """
        for place in dict.fromkeys((_in_labels(image), image)):
            for wanted in (place.with_suffix(LABEL_SUFFIX), place.with_name(place.name + LABEL_SUFFIX)):
                if (found := self.find(wanted)) is not None:
                    return found
        return None

    @cached_property
    def _folded(self) -> dict[PurePosixPath, list[PurePosixPath]]:
        index: dict[PurePosixPath, list[PurePosixPath]] = {}
        for name in self.files:
            index.setdefault(folded(name), []).append(name)
        return index


def list_files(root: Path) -> FileList:
    """Walk the folder `root`."""
    top = root.resolve()
    files, left_out = list[PurePosixPath](), list[LeftOut]()
    for folder, folders, names in os.walk(top, followlinks=True):
        here = Path(folder)
        kept = [name for name in folders if _objection(here / name, top, left_out)]
        # In place, since that is how os.walk is told where not to go.
        folders[:] = [name for name in kept if not _leads_back(here / name, top, left_out)]
        files += [_relative(here / name, top) for name in names if _objection(here / name, top, left_out)]
    return FileList(top, sorted(files), sorted(left_out, key=lambda entry: entry.name))


def folded(name: PurePosixPath) -> PurePosixPath:
    """As names are compared: in NFC, the ending in lower case."""
    plain = PurePosixPath(unicodedata.normalize("NFC", str(name)))
    return plain.with_suffix(plain.suffix.lower())


def is_clutter(name: str) -> bool:
    """Whether a file or folder of this name is nobody's data."""
    return name.startswith(".") or name in SYSTEM_CLUTTER


def _objection(path: Path, top: Path, left_out: list[LeftOut]) -> bool:
    """Whether a name belongs to the list; if not, `left_out` says why."""
    if is_clutter(path.name):
        left_out.append(LeftOut(_relative(path, top), "is hidden or was put there by the system"))
    elif (path / RESULTS_MARK).exists():
        left_out.append(LeftOut(_relative(path, top), "holds results, not data"))
    elif not path.resolve().is_relative_to(top):
        left_out.append(LeftOut(_relative(path, top), f"is a link to {path.resolve()}, outside the data set"))
    elif not path.exists():
        left_out.append(LeftOut(_relative(path, top), "is a link to nothing"))
    else:
        return True
    return False


def _leads_back(folder: Path, top: Path, left_out: list[LeftOut]) -> bool:
    """Whether a link names a folder that it lies in, which would have no end."""
    if not folder.is_symlink() or folder.resolve() not in (folder.parent.resolve(), *folder.parent.resolve().parents):
        return False
    left_out.append(LeftOut(_relative(folder, top), "is a link to a folder around it"))
    return True


def _relative(path: Path, top: Path) -> PurePosixPath:
    return PurePosixPath(path.relative_to(top).as_posix())


def _in_labels(image: PurePosixPath) -> PurePosixPath:
    """Where the labels of an image are: the last `images` folder becomes `labels`."""
    parts = list(image.parts)
    folders = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if folders:
        parts[folders[-1]] = "labels"
    return PurePosixPath(*parts)
