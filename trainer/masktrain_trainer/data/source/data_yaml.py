"""What a `data.yaml` says: class names and splits, whatever it thinks its folders are called.

The paths in Roboflow's exports point one folder too high (`../train/images`), into a folder named after the project, or
to an absolute path of the machine that exported them. Every one of these forms is tried, inside the data set only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from masktrain_trainer.config import LONGEST_CLASS_NAME, MOST_CLASSES
from masktrain_trainer.errors import InvalidDataset, printable

from ..convert.recognise import recognise
from .file_list import list_files

IMAGE_SUFFIXES = frozenset({".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp", ".pfm"})
"""The formats that YOLOv5 reads."""
SYNONYMS = {"valid": "val", "val": "valid"}
SPLIT_FOLDERS = frozenset({"train", "training", "val", "valid", "validation", "test"})
LARGEST_BYTES = 1 << 20
LONGEST_PATH, MOST_FOLDERS = 4096, 64
"""Characters, of which Linux takes no more, and folders: every ending of a path is looked for."""
MOST_PLACES = 1_000
"""Folders of a split; the same one, by an alias, can stand in a few bytes hundreds of thousands of times."""
LARGEST_LIST = 256 << 20
"""Bytes of a text file that lists a split's pictures."""
LONGEST_NUMBER = 1_000
"""Characters: to read one in parts of sixty takes time by the square of its length."""
LONGEST_KEY = 18
"""Digits of a whole number: Python's hashes of longer ones can be made equal, and a mapping of such keys slow."""
REQUIRED = ("train", "val")
SPLITS = ("train", "val", "test")


MOST_ENTRIES = 100_000
_YAML_INT = "tag:yaml.org,2002:int"


class BoundedLoader(yaml.SafeLoader):
    """Unfolds no more than `MOST_ENTRIES` entries of mappings: merge keys of merge keys multiply in a few lines."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._entries = 0

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if ":" in node.value and len(node.value) > LONGEST_NUMBER:
            problem = f"it has a number in parts of sixty of more than {LONGEST_NUMBER:,} characters"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_yaml_int(node)

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Called for each mapping before it is made, and before its entries are copied into another.
        super().flatten_mapping(node)
        if any(key.tag == _YAML_INT and len(key.value) > LONGEST_KEY for key, _ in node.value):
            problem = f"it has a number of more than {LONGEST_KEY} digits as a key"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        self._entries += len(node.value)
        if self._entries > MOST_ENTRIES:
            problem = f"its merge keys (<<) unfold to more than {MOST_ENTRIES:,} entries"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


BoundedLoader.add_constructor(_YAML_INT, BoundedLoader.construct_yaml_int)


@dataclass(frozen=True)
class DataYaml:
    """A data set as described by its yaml: class names, and the image files of each split, sorted."""

    names: list[str]
    images: dict[str, list[Path]]
    choices: list[str] = field(default_factory=list)
    """One line per split that says which folder was taken, for the log."""


def read_data_yaml(root: Path) -> DataYaml:
    """Read the `data.yaml` of the data set unpacked at `root`; raises InvalidDataset."""
    path = _find(root)
    document = _load(path, root)
    names = _names(document, _shown(path, root))
    prefix = document.get("path")
    _refuse_long(prefix if isinstance(prefix, str) else "", "The entry 'path' of data.yaml")
    search = _Search(root, path.parent, prefix)
    images: dict[str, list[Path]] = {}
    choices = []
    for split in SPLITS:
        found = _split(split, document, search)
        if found is not None:
            images[split], choice = found
            choices.append(choice)
    return DataYaml(names, images, choices)


def _find(root: Path) -> Path:
    """The `data.yaml` nearest to the top, or the only yaml file there is."""
    candidates = sorted((*root.rglob("*.yaml"), *root.rglob("*.yml")), key=lambda path: (len(path.parts), path))
    # Some exports bring the yaml of a model, too; only `data` is certain to describe the images.
    named = [path for path in candidates if path.stem == "data"]
    if named:
        return named[0]
    if len(candidates) == 1:
        return candidates[0]
    recognised = recognise(list_files(root))
    if recognised is not None:
        raise InvalidDataset(f"The data set is {recognised}.")
    raise InvalidDataset(
        "The zip has no data.yaml; export the data set as 'YOLOv5 PyTorch', which puts one at the top of the zip."
    )


def _load(path: Path, root: Path) -> dict[str, Any]:
    shown = _shown(path, root)
    if path.stat().st_size > LARGEST_BYTES:
        raise InvalidDataset(f"{shown} is larger than {LARGEST_BYTES >> 20} MiB, which no data.yaml is.")
    try:
        # Windows' editors put a byte order mark before UTF-8. Safely, since v7.0 even runs what `download` says: here
        # a data.yaml is values and nothing else.
        document = yaml.load(path.read_text(encoding="utf-8-sig"), BoundedLoader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError:
        raise InvalidDataset(f"{shown} is not text in UTF-8; save it as UTF-8.") from None
    except yaml.YAMLError as error:
        raise InvalidDataset(f"{shown} is not valid YAML ({_where(error)}); repair that line.") from None
    # A number of thousands of digits, a date that does not exist; the others by a value that is not of its tag's type
    # (!!bool abc), which PyYAML takes for granted.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise InvalidDataset(f"{shown} has a value that cannot be read ({_brief(error)}); quote it.") from None
    except RecursionError:
        raise InvalidDataset(f"{shown} is nested too deeply to be a data.yaml.") from None
    if not isinstance(document, dict):
        raise InvalidDataset(f"{shown} must hold the keys train, val and names, but holds {_kind(document)}.")
    return document


def _where(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]


def _brief(error: Exception) -> str:
    return str(error)[:200] if isinstance(error, ValueError) else "it is not of the type that its tag says"


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"


def _names(document: dict[str, Any], shown: str) -> list[str]:
    names = document.get("names")
    if not names:
        raise InvalidDataset(f"{shown} has no class names; add 'names', a list with one name for each class.")
    if isinstance(names, list | dict) and len(names) > MOST_CLASSES:
        raise InvalidDataset(f"{shown} names {len(names):,} classes; more than {MOST_CLASSES:,} are not taken.")
    if isinstance(names, dict):
        if not _are_numbers_from_zero(names):
            raise InvalidDataset(f"{shown}: 'names' must number its classes 0 to {len(names) - 1} without a gap.")
        names = [names[index] for index in range(len(names))]
    if isinstance(names, list) and any(isinstance(name, bool) for name in names):
        raise InvalidDataset(
            f"{shown}: 'names' has a bare yes, no, on or off, which YAML takes for true or false; quote it."
        )
    # YAML reads names such as 3 and 1.5 as numbers.
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        raise InvalidDataset(f"{shown}: 'names' must be a list of class names, but is {_kind(names)}.")
    return [_name(name, number, shown) for number, name in enumerate(names)]


def _are_numbers_from_zero(keys: dict[Any, Any]) -> bool:
    return all(type(key) is int for key in keys) and keys.keys() == set(range(len(keys)))


def _name(name: str | float, number: int, shown: str) -> str:
    try:
        text = str(name)
    except ValueError:  # Python writes no whole number of thousands of digits, though it reads it in hexadecimals
        text = "?" * (LONGEST_CLASS_NAME + 1)
    if len(text) > LONGEST_CLASS_NAME:
        raise InvalidDataset(
            f"{shown}: the name of class {number} is longer than {LONGEST_CLASS_NAME} characters; shorten it."
        )
    return printable(text)


def _split(split: str, document: dict[str, Any], search: _Search) -> tuple[list[Path], str] | None:
    value = document.get(split, document.get(SYNONYMS.get(split, split)))
    required = split in REQUIRED
    if value is None or value == []:
        if required:
            raise InvalidDataset(
                f"data.yaml has no '{split}' entry; add one that names the folder of the {split} images."
            )
        return None
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, str) for entry in values):
        raise InvalidDataset(f"The entry '{split}' of data.yaml must be a folder or a list of folders.")
    values = list(dict.fromkeys(values))
    if len(values) > MOST_PLACES:
        raise InvalidDataset(f"The entry '{split}' of data.yaml has more than {MOST_PLACES:,} folders; join them.")
    for entry in values:
        _refuse_long(entry, f"The entry '{split}' of data.yaml")
    places = [search.find(entry) for entry in values]
    missing = [entry for entry, place in zip(values, places, strict=True) if place is None]
    if missing and required:
        raise InvalidDataset(
            f"The folder {missing[0]!r} that data.yaml names for '{split}' is not in the zip, "
            f"which has {search.overview()}."
        )
    # Each once and sorted: an image's number seeds its augmentation, so the order must not be the file system's.
    images = sorted({image for place in places if place is not None for image in _images(place, search)})
    if not images and required:
        raise InvalidDataset(f"The folder {str(values[0])!r} that data.yaml names for '{split}' holds no images.")
    shown = ", ".join(_shown(place, search.root) for place in places if place is not None)
    choice = printable(f"{split}: {value} -> {shown} ({len(images)} images)")
    return (images, choice) if images else None


def _images(place: Path, search: _Search) -> Iterator[Path]:
    """Images of a folder, at any depth, or of a text file that lists them."""
    if place.is_dir():
        yield from (path for path in place.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        return
    if place.stat().st_size > LARGEST_LIST:
        raise InvalidDataset(f"{_shown(place, search.root)} is larger than {LARGEST_LIST >> 20} MiB; list folders.")
    beside = _Search(search.root, place.parent, None)
    for line in place.read_text(encoding="utf-8-sig", errors="replace").splitlines():
        listed = line.strip()
        _refuse_long(listed, _shown(place, search.root))
        found = (beside.find(listed) or search.find(listed)) if listed else None
        if listed and found is None:
            raise InvalidDataset(f"{_shown(place, search.root)} lists {listed!r}, which is not in the zip.")
        if found is not None:
            yield found


@dataclass(frozen=True)
class _Search:
    """Where paths of a data.yaml may lead: never outside `root`."""

    root: Path
    folder: Path
    """That of the data.yaml."""
    prefix: object
    """The yaml's `path`, if any."""

    def find(self, value: str) -> Path | None:
        """The first place that exists among every reading of `value`."""
        for candidate in self._readings(PurePosixPath(value.strip().replace("\\", "/"))):
            place = self._existing(candidate)
            if place is not None:
                return place
        return None

    def _existing(self, candidate: PurePosixPath) -> Path | None:
        try:
            # Resolved before it is compared: a link in the zip's tree must not lead outside of it.
            place = (self.folder / candidate).resolve()
            return place if place.is_relative_to(self.root.resolve()) and place.exists() else None
        except (OSError, ValueError):  # a name that no file can have
            return None

    def _readings(self, value: PurePosixPath) -> Iterator[PurePosixPath]:
        for reading in (value, *_swapped(value)):
            if not reading.is_absolute():
                yield reading
                if isinstance(self.prefix, str):
                    yield PurePosixPath(self.prefix.lstrip("/")) / reading
            yield from _endings(reading)

    def overview(self) -> str:
        entries = sorted(path.name + ("/" if path.is_dir() else "") for path in self.folder.iterdir())
        return ", ".join(entries[:8]) + (" and more" if len(entries) > 8 else "")


def _swapped(value: PurePosixPath) -> Iterator[PurePosixPath]:
    if SYNONYMS.keys() & set(value.parts):
        yield PurePosixPath(*(SYNONYMS.get(part, part) for part in value.parts))


def _endings(value: PurePosixPath) -> Iterator[PurePosixPath]:
    """`../Project-1/train/images` may mean `Project-1/train/images` or `train/images`, but never any `images`."""
    parts = [part for part in value.parts if part not in ("/", "..")]
    for start in range(len(parts)):
        ending = parts[start:]
        if start == 0 or SPLIT_FOLDERS & set(ending) or PurePosixPath(ending[-1]).suffix:
            yield PurePosixPath(*ending)


def _refuse_long(path: str, where: str) -> None:
    if len(path) > LONGEST_PATH or path.count("/") + path.count("\\") > MOST_FOLDERS:
        raise InvalidDataset(
            f"{where} has a path of more than {LONGEST_PATH:,} characters or {MOST_FOLDERS} folders; shorten it."
        )


def _shown(path: Path, root: Path) -> str:
    resolved = path.resolve()
    return str(resolved.relative_to(root.resolve())) if resolved != root.resolve() else "."
