"""What a `data.yaml` says: class names and splits, whatever it thinks its folders are called.

The paths in Roboflow's exports point one folder too high (`../train/images`), into a folder named after the project, or
to an absolute path of the machine that exported them. Every one of these forms is tried, inside the data set only.
What can mean only one thing is taken; anything else is one sentence with the key and the value.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from masktrain_trainer.config import LONGEST_CLASS_NAME, MOST_CLASSES
from masktrain_trainer.errors import InvalidDataset, printable

from .file_list import LABEL_SUFFIX, FileList, list_files
from .pictures import READ_SUFFIXES
from .yaml_file import find_yaml, load_yaml, read_text, said, several

SYNONYMS = {"valid": "val", "val": "valid"}
SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test"})
MISSPELT = {"train": {"train", "training"}, "val": {"val", "valid", "validation"}, "names": {"names", "classes"}}
"""Keys, in lower case, that people write for one: they are named, never taken."""
_LIKE_A_SPLIT = re.compile("(train|val|test)", re.IGNORECASE)
LONGEST_PATH, MOST_FOLDERS = 4096, 64
"""Characters, of which Linux takes no more, and folders: every ending of a path is looked for."""
MOST_PLACES = 1_000
"""Folders of a split; the same one, by an alias, can stand in a few bytes hundreds of thousands of times."""
LARGEST_LIST = 256 << 20
"""Bytes of a text file that lists a split's pictures."""
MOST_KEYPOINTS = 1_000
REQUIRED = ("train", "val")
SPLITS = ("train", "val", "test")
TOP = PurePosixPath(".")

Document = Mapping[Any, Any]


@dataclass(frozen=True)
class DataYaml:
    """A data set as described by its yaml: class names, and the image files of each split, sorted."""

    names: list[str]
    images: dict[str, list[Path]]
    files: FileList
    choices: list[str] = field(default_factory=list)
    """Lines for the log: which folder was taken for each split, and what in the yaml is odd or has no effect."""
    keypoint_columns: int | None = None
    """Columns of keypoints that follow each box in the labels, by `kpt_shape`."""


def read_data_yaml(root: Path) -> DataYaml:
    """Read the `data.yaml` of the data set unpacked at `root`; raises InvalidDataset."""
    files = list_files(root)
    name, others = find_yaml(files)
    document, repeated = load_yaml(files, name)
    shown = str(name)
    names = _names(document, shown)
    keypoint_columns = _keypoint_columns(document, shown)
    images, places = _read_splits(document, _Search(files, name.parent, _prefix(document, shown)))
    choices = [
        *([f"{shown} describes the data set; {several(map(str, others))} has no effect"] if others else []),
        *(f"{shown} has the key {said(key)} twice; the last one counts" for key in repeated[:3]),
        *_doubts(document, names),
        *places,
    ]
    paths = {split: [files.path(image) for image in found] for split, found in images.items()}
    return DataYaml(names, paths, files, choices, keypoint_columns)


def read_names(path: Path) -> list[str]:
    """The class names of one yaml, whatever else it says or lacks; raises InvalidDataset."""
    document, _ = load_yaml(FileList(path.parent, [], []), PurePosixPath(path.name))
    return _names(document, str(path))


def _is_absent(value: object) -> bool:
    """Whether nothing stands there: an export without test pictures may write `test: ''`."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | dict) and not value)


def _number(value: object) -> int | None:
    """A whole number as people write one, quoted or not, with or without zeros before it."""
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value.strip()) else None


def _misspelt(document: Document, key: str) -> str:
    meant = MISSPELT.get(key, {key})
    written = [
        other for other in document if isinstance(other, str) and other != key and other.strip().lower() in meant
    ]
    return f" (it has {written[0]!r}: write {key!r})" if written else ""


def _names(document: Document, shown: str) -> list[str]:
    value = document.get("names")
    if _is_absent(value):
        raise InvalidDataset(
            f"{shown} has no class names{_misspelt(document, 'names')}; add 'names', a list with one name for each "
            "class."
        )
    names = _unnested(value)
    if isinstance(names, list | dict) and len(names) > MOST_CLASSES:
        raise InvalidDataset(f"{shown} names {len(names):,} classes; more than {MOST_CLASSES:,} are not taken.")
    if isinstance(names, dict):
        names = _by_number(names, shown)
    if not isinstance(names, list):
        raise InvalidDataset(f"{shown}: 'names' must be a list of class names, as in [cat, dog], but is {said(value)}.")
    return [_name(name, number, shown) for number, name in enumerate(names)]


def _unnested(value: object) -> object:
    """The list or mapping that is meant by a text of several lines, a list in a list, or a list of `- 0: cat`."""
    if isinstance(value, str):
        lines = [line.strip().removeprefix("- ").strip() for line in value.strip().splitlines()]
        return lines if len(lines) > 1 else value
    if not isinstance(value, list):
        return value
    if all(isinstance(entry, dict) and all(_number(key) is not None for key in entry) for entry in value):
        pairs = [pair for entry in value for pair in entry.items()]
        return dict(pairs) if len(dict(pairs)) == len(pairs) else value
    if len(value) == 1 and isinstance(value[0], list):
        return value[0]
    return [entry[0] for entry in value] if all(isinstance(e, list) and len(e) == 1 for e in value) else value


def _by_number(names: dict[Any, Any], shown: str) -> list[object]:
    numbered = {_number(key): name for key, name in names.items()}
    if None not in numbered and numbered.keys() == set(range(len(names))):
        return [numbered[number] for number in range(len(names))]
    strange = [key for key in names if _number(key) is None]
    missing = [number for number in range(len(names)) if number not in numbered]
    if strange and all(_number(name) is not None for name in names.values()):
        problem = f"has the name {said(strange[0])} before the number; write the number first, as in 0: cat"
    elif strange:
        problem = f"has the key {said(strange[0])}"
    else:
        problem = f"has no class {missing[0]}" if missing else "has a class twice"
    raise InvalidDataset(
        f"{shown}: 'names' must number its classes 0 to {len(names) - 1} without a gap, but {problem}."
    )


def _name(name: object, number: int, shown: str) -> str:
    if name is None:
        raise InvalidDataset(
            f"{shown}: 'names' has nothing for class {number} (null, ~ or an empty entry); write its name, in quotes "
            "if that is what the class is called."
        )
    if not isinstance(name, str):
        raise InvalidDataset(f"{shown}: 'names' has {said(name)} for class {number}; write a name, in quotes.")
    if len(name) > LONGEST_CLASS_NAME:
        raise InvalidDataset(
            f"{shown}: the name of class {number} is longer than {LONGEST_CLASS_NAME} characters; shorten it."
        )
    return printable(name)


def _doubts(document: Document, names: list[str]) -> Iterator[str]:
    """What is taken, as by YOLOv5, but hardly meant."""
    count = document.get("nc")
    if not _is_absent(count) and _number(count) != len(names):
        yield f"nc is {said(count)}, but 'names' has {len(names)}: the names count"
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        yield f"more than one class is called {several(map(repr, twice))}"


def _keypoint_columns(document: Document, shown: str) -> int | None:
    value = document.get("kpt_shape")
    if _is_absent(value):
        return None
    numbers = [_number(entry) for entry in value] if isinstance(value, list) else []
    match numbers:
        case [int(points), int(columns)] if points <= MOST_KEYPOINTS and (columns in (2, 3) or not points):
            return points * columns or None
    raise InvalidDataset(
        f"{shown}: 'kpt_shape' must be a number of keypoints and the 2 or 3 columns of each, as in [17, 3], but is "
        f"{said(value)}."
    )


def _prefix(document: Document, shown: str) -> str:
    """The folder that the yaml's paths begin in."""
    value = document.get("path")
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if _is_absent(value):
        return ""
    if not isinstance(value, str):
        raise InvalidDataset(f"{shown}: 'path' must be a folder, but is {said(value)}.")
    _refuse_long(value, f"The entry 'path' of {shown}")
    return value


@dataclass(frozen=True)
class _Place:
    """What an entry of a split names: a folder, a text file that lists pictures, or a picture."""

    name: PurePosixPath
    guessed: bool
    """Found by an end of its path that names no split."""


Places = dict[str, _Place | None]
"""Of one split, by what the yaml names; None is not there."""


def _read_splits(document: Document, search: _Search) -> tuple[dict[str, list[PurePosixPath]], list[str]]:
    """The pictures of each split, and a line that says where they were found."""
    entries = {split: _entries(split, document) for split in SPLITS}
    places = {split: {entry: search.find(entry) for entry in named} for split, named in entries.items() if named}
    for split in reversed(SPLITS):
        _refuse_guesses(split, places)
    images: dict[str, list[PurePosixPath]] = {}
    choices = []
    for split, found in places.items():
        _refuse_missing(split, found, search)
        # Each once and sorted: an image's number seeds its augmentation, so the order must not be the file system's.
        pictures = sorted(search.pictures([place.name for place in found.values() if place is not None]))
        if not pictures and split in REQUIRED:
            raise InvalidDataset(_empty(split, found, search))
        if pictures:
            images[split] = pictures
        choices.append(_choice(split, found, len(pictures)))
    return images, choices


def _empty(split: str, found: Places, search: _Search) -> str:
    first, place = next((several([entry]), place) for entry, place in found.items())
    if place is not None and place.name.suffix.lower() == LABEL_SUFFIX:
        return f"The list {first!r} that data.yaml names for '{split}' names no images; write one path a line into it."
    return f"The folder {first!r} that data.yaml names for '{split}' holds no images{search.astray(first)}."


def _entries(split: str, document: Document) -> list[str]:
    """What the yaml names for a split, each once; raises InvalidDataset."""
    keys = [key for key in (split, SYNONYMS.get(split, split)) if not _is_absent(document.get(key))]
    value = document[keys[0]] if keys else None
    values = [entry for entry in (value if isinstance(value, list) else [value]) if not _is_absent(entry)]
    if not values and split in REQUIRED:
        raise InvalidDataset(
            f"data.yaml has no '{split}' entry{_misspelt(document, split)}; add one that names the folder of the "
            f"{split} images."
        )
    strange = [entry for entry in values if not isinstance(entry, str)]
    if strange:
        raise InvalidDataset(
            f"The entry '{keys[0]}' of data.yaml must be a folder or a list of folders, but has {said(strange[0])}."
        )
    entries = list(dict.fromkeys(str(entry) for entry in values))
    if len(entries) > MOST_PLACES:
        raise InvalidDataset(f"The entry '{split}' of data.yaml has more than {MOST_PLACES:,} folders; join them.")
    for entry in entries:
        _refuse_long(entry, f"The entry '{split}' of data.yaml")
    return entries


def _refuse_missing(split: str, found: Places, search: _Search) -> None:
    missing = [entry for entry, place in found.items() if place is None]
    if missing and split in REQUIRED:
        raise InvalidDataset(
            f"The folder {several(missing[:1])!r} that data.yaml names for '{split}' is not in the data set, "
            f"which has {search.overview()}{search.astray(missing[0])}."
        )


def _refuse_guesses(split: str, places: dict[str, Places]) -> None:
    """A guess must not make two splits of one: validation on training pictures would look splendid."""
    taken = {
        place.name: other
        for other, found in places.items()
        for place in found.values()
        if other != split and place is not None
    }
    around = {parent: name for name in taken for parent in name.parents}
    for entry, place in places.get(split, {}).items():
        if place is None or not place.guessed:
            continue
        name = place.name
        clash = next((other for other in (name, around.get(name, name), *name.parents) if other in taken), None)
        if clash is None:
            continue
        if split in REQUIRED:
            raise InvalidDataset(
                f"The folder {several([entry])!r} that data.yaml names for '{split}' is not in the data set, and "
                f"{name}, which ends like it, is taken for '{taken[clash]}'; write the folders as they are there."
            )
        places[split][entry] = None


def _choice(split: str, found: Places, pictures: int) -> str:
    # A wrong folder is the commonest failure of a first run.
    there = several(str(place.name) for place in found.values() if place is not None)
    missing = several(entry for entry, place in found.items() if place is None)
    taken = f"{split}: {several(found)} -> {there or 'nothing'} ({pictures} images)"
    return printable(taken + (f"; not in the data set: {missing}" if missing else ""))


class _Search:
    """Where paths of a data.yaml may lead: never outside the data set."""

    def __init__(self, files: FileList, folder: PurePosixPath, prefix: str) -> None:
        """`folder` is that of the data.yaml, `prefix` its `path`."""
        self._files = files
        self._folder = folder
        self._prefix = prefix
        self._folders = _folders(files.files)

    def find(self, value: str) -> _Place | None:
        """The first place that exists among every reading of `value`."""
        for guess in (False, True):
            for folder in dict.fromkeys((self._folder, TOP)):
                place = self._first(_readings(self._prefix, value, folder, guess=guess))
                if place is not None:
                    return _Place(place, guess)
        return None

    def _first(self, candidates: Iterable[PurePosixPath]) -> PurePosixPath | None:
        for name in candidates:
            place = name if name in self._folders else self._files.find(name) or self._files.find_folder(name)
            if place is not None:
                return place
        return None

    def pictures(self, places: list[PurePosixPath]) -> set[PurePosixPath]:
        """Those of folders, at any depth, of text files that list them, and places that are pictures themselves."""
        folders = self._folders.intersection(places)
        found = {
            name
            for name in (self._files.files if folders else [])
            if name.suffix.lower() in READ_SUFFIXES and not folders.isdisjoint(name.parents)
        }
        for place in places:
            if place not in folders:
                found.update([place] if place.suffix.lower() in READ_SUFFIXES else self._listed(place))
        return found

    def _listed(self, place: PurePosixPath) -> Iterator[PurePosixPath]:
        for number, line in enumerate(read_text(self._files, place, LARGEST_LIST, "list folders").splitlines(), 1):
            listed = line.strip()
            _refuse_long(listed, str(place))
            found = self._of_line(place, listed) if listed else None
            if found in self._folders:
                raise InvalidDataset(
                    f"{place} lists {several([listed])!r} (line {number}), which is a folder; a list names pictures: "
                    "name the folder in data.yaml itself."
                )
            if found is None and listed and not listed.startswith("#"):
                problem = self._objection(place, listed)
                raise InvalidDataset(f"{place} lists {several([listed])!r} (line {number}), {problem}.")
            # `find train -type f > train.txt` lists labels, too: they are passed over, as YOLOv5 does.
            if found is not None and found.suffix.lower() != LABEL_SUFFIX:
                yield found

    def _of_line(self, place: PurePosixPath, listed: str) -> PurePosixPath | None:
        """Beside the list, else from where data.yaml's paths begin."""
        for value in dict.fromkeys((listed, listed.strip("\"'"))):
            for folder, prefix in dict.fromkeys(((place.parent, ""), (self._folder, self._prefix), (TOP, ""))):
                found = self._first(_readings(prefix, value, folder, guess=False))
                if found is not None:
                    return found
        return None

    def _objection(self, place: PurePosixPath, listed: str) -> str:
        words = listed.split()
        if len(words) > 1 and self._of_line(place, words[0]) is not None:
            return "which is more than a path; write one path a line, boxes belong in label files"
        return "which is not in the data set"

    def astray(self, value: str) -> str:
        """Why what `value` names was left out, if a part of its path was, as the end of a sentence."""
        parts = set(_parts(_portable(value)))
        names = [each for each in self._files.astray() if parts.issuperset(each.name.parts)]
        # Else what lies in the folder that is meant.
        names += [each for each in self._files.astray() if parts.issuperset(each.name.parent.parts or ["/"])]
        return f"; {printable(f'{names[0].name} {names[0].reason}')}" if names else ""

    def overview(self) -> str:
        depth = 0 if self._folder == TOP else len(self._folder.parts)
        below = [name.parts[depth:] for name in self._files.files if self._folder in name.parents]
        entries = sorted({parts[0] + ("/" if len(parts) > 1 else "") for parts in below})
        return ", ".join(entries[:8]) + (" and more" if len(entries) > 8 else "")


def _folders(files: Iterable[PurePosixPath]) -> set[PurePosixPath]:
    found = set[PurePosixPath]()
    for name in files:
        folder = name.parent
        while folder not in found:
            found.add(folder)
            folder = folder.parent
    return found


def _readings(prefix: str, value: str, folder: PurePosixPath, *, guess: bool) -> Iterator[PurePosixPath]:
    """Places, seen from `folder`, that a path may mean: as v7.0 reads it, then its ends, the longest first.

    An end that leaves out a part of `value` must name a split or a file, for `images` alone may be anybody's. With
    `guess` the others come: ends of two folders at least, or of one that is called like a split (`train2017`).
    """
    path = _portable(value)
    for reading in (path, *_swapped(path)):
        whole = _portable(prefix) / reading
        if not guess:
            yield from _literally(whole, folder)
        parts, own = _parts(whole), len(_parts(reading))
        for start in range(len(parts)):
            end = parts[start:]
            sure = start == 0 or len(end) >= own or SPLIT_FOLDERS & set(end) or PurePosixPath(end[-1]).suffix
            likely = len(end) > 1 or _LIKE_A_SPLIT.match(end[0])
            if (likely and not sure) if guess else sure:
                yield folder.joinpath(*end)
        if not guess:
            yield from _literally(reading, folder)


def _portable(path: str) -> PurePosixPath:
    return PurePosixPath(path.strip().replace("\\", "/"))


def _literally(path: PurePosixPath, folder: PurePosixPath) -> Iterator[PurePosixPath]:
    if not path.is_absolute():
        place = posixpath.normpath(str(folder / path))
        if place != ".." and not place.startswith("../"):
            yield PurePosixPath(place)


def _parts(path: PurePosixPath) -> list[str]:
    # Two slashes are a part of their own at the beginning of a Windows share.
    return [part for part in path.parts if part.strip("/") not in ("", "..")]


def _swapped(value: PurePosixPath) -> Iterator[PurePosixPath]:
    if SYNONYMS.keys() & set(value.parts):
        yield PurePosixPath(*(SYNONYMS.get(part, part) for part in value.parts))


def _refuse_long(path: str, where: str) -> None:
    if len(path) > LONGEST_PATH or path.count("/") + path.count("\\") > MOST_FOLDERS:
        raise InvalidDataset(
            f"{where} has a path of more than {LONGEST_PATH:,} characters or {MOST_FOLDERS} folders; shorten it."
        )
