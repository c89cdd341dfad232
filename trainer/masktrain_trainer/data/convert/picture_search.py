"""The pictures of a folder, found by what an export calls them; and the splits that names of files and folders say."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from urllib.parse import parse_qs, unquote

LONGEST_PATH = 4096
"""Characters of what an export calls a picture."""
_SPLITS = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_UPLOAD = re.compile("^[0-9a-f]{8}-")
"""Label Studio puts it before the names of files that were uploaded to it."""


def split_of(text: str) -> str | None:
    """The split that a file or folder is named after: `instances_train2017`, `valid`, `obj_Train_data`."""
    words = re.split("[^a-z]+", text.lower())
    return next((_SPLITS[word] for word in words if word in _SPLITS), None)


def split_of_folders(path: PurePosixPath) -> str | None:
    """That of the innermost folder that has one."""
    return next((found for part in reversed(path.parent.parts) if (found := split_of(part))), None)


class Pictures:
    """The pictures of a folder, found by what an export calls them: names, paths of other machines, addresses.

    Only names of the folder's own list are ever answered, so no path of an export leads anywhere else.
    """

    def __init__(self, names: Iterable[PurePosixPath]) -> None:
        self.names = list(names)
        self._by_name: dict[str, list[PurePosixPath]] = {}
        self._by_stem: dict[str, list[PurePosixPath]] = {}
        for name in self.names:
            self._by_name.setdefault(_folded(name.name), []).append(name)
            self._by_stem.setdefault(_folded(name.stem), []).append(name)

    def find(
        self, said: str, *, near: PurePosixPath, split: str | None = None, without_ending: bool = False
    ) -> tuple[PurePosixPath | None, str]:
        """The picture whose path ends like `said`, of several the one nearest to the file `near`; or None and why.

        Also by its stem alone: frames of a video have no ending in CVAT's `frame_000012`, and their files have one.
        """
        path, problem = (None, "") if without_ending else self._nearest(self._by_name, said, near, split)
        if path is None and not problem:
            path, problem = self._nearest(self._by_stem, said, near, split)
        return path, problem or ("" if path else "is not there")

    def _nearest(
        self, index: dict[str, list[PurePosixPath]], said: str, near: PurePosixPath, split: str | None
    ) -> tuple[PurePosixPath | None, str]:
        """The picture, or what stands against it; neither, if none is called so."""
        problem = ""
        for parts in _readings(said) if len(said) <= LONGEST_PATH else ():
            found = index.get(_folded(parts[-1]), []) if parts else []
            if not found:
                continue
            ranks = {name: _closeness(name, parts, near, split) for name in found}
            best = [name for name in found if ranks[name] == max(ranks.values())]
            if len(best) == 1:
                return best[0], ""
            problem = problem or f"may be {best[0]} or {best[1]}"
        return None, problem


def _closeness(
    name: PurePosixPath, parts: list[str], near: PurePosixPath, split: str | None
) -> tuple[int, bool, int, int]:
    """Folders in common from the end, the split, folders in common from the top, and the fewest others."""
    tail = _common(reversed(name.parent.parts), reversed(parts[:-1]))
    top = _common(name.parent.parts, near.parent.parts)
    return tail, split is not None and split_of_folders(name) == split, top, -len(name.parts)


def _common(some: Iterable[str], others: Iterable[str]) -> int:
    count = 0
    for one, other in zip(some, others, strict=False):
        if _folded(one) != _folded(other):
            break
        count += 1
    return count


def _readings(said: str) -> Iterator[list[str]]:
    """The path as it is, as an address (`?d=folder/x.jpg` is Label Studio's), and without the mark of an upload."""
    yield _parts(said)
    address, _, query = said.partition("?")
    local = parse_qs(query).get("d")
    read = _parts(local[0] if local else unquote(address))
    yield read
    if read and _UPLOAD.match(read[-1]):
        yield [*read[:-1], read[-1][9:]]


def _parts(path: str) -> list[str]:
    return [part for part in path.replace("\\", "/").split("/") if part not in ("", ".", "..")]


def _folded(name: str) -> str:
    """As names are compared: in NFC, the ending in lower case."""
    stem, dot, ending = unicodedata.normalize("NFC", name).rpartition(".")
    return f"{stem}{dot}{ending.lower()}" if dot else ending
