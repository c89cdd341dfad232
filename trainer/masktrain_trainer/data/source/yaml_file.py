"""The yaml file that describes a data set: which one it is, and its values, within bounds.

Nothing in it runs or multiplies. A manifest means what YAML says; a data.yaml means what its author sees: YAML 1.1
would make true of a class called yes, 750 of one called 12:30, and 7 of 007.
"""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from masktrain_trainer.errors import InvalidDataset

from ..convert.recognise import recognise
from .archive import TRANSIENT_ERRORS
from .file_list import FileList, list_files

SUFFIXES = frozenset({".yaml", ".yml"})
LARGEST_BYTES = 1 << 20
"""Of one file, and of all together that are looked into when none is called data.yaml: PyYAML takes its time."""
LONGEST_NUMBER = 1_000
"""Characters: to read one in parts of sixty takes time by the square of its length."""
LONGEST_KEY = 18
"""Digits of a whole number: Python's hashes of longer ones can be made equal, and a mapping of such keys slow."""
MOST_ENTRIES = 100_000
LONGEST_EXCERPT = 200
_TAG = "tag:yaml.org,2002:"
_INT = f"{_TAG}int"


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
        if any(_is_long_number(key) for key, _ in node.value):
            problem = f"it has a number of more than {LONGEST_KEY} digits as a key"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        self._entries += len(node.value)
        if self._entries > MOST_ENTRIES:
            problem = f"its merge keys (<<) unfold to more than {MOST_ENTRIES:,} entries"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


BoundedLoader.add_constructor(_INT, BoundedLoader.construct_yaml_int)


def _is_long_number(key: yaml.Node) -> bool:
    if not isinstance(key, yaml.ScalarNode) or len(key.value) <= LONGEST_KEY:
        return False
    return key.tag == _INT or (key.style is None and key.value.isdecimal())


class TextLoader(BoundedLoader):
    """Leaves every scalar as the text that was written; a bare null, ~ or nothing is still None.

    A tag (`!!int 3`) is checked, and its value left as text, too.
    """

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.repeated: list[str] = []
        """Keys that a mapping has more than once; the last counts."""
        self._noted: set[int] = set()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # Only before it is flattened: what is merged in is meant to be there again.
        if id(node) not in self._noted:
            self._noted.add(id(node))
            self._note_repeated([key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)])
        super().flatten_mapping(node)

    def _note_repeated(self, keys: list[str]) -> None:
        seen = set[str]()
        for key in keys:
            if key in seen and key != "<<":
                self.repeated.append(key)
            seen.add(key)


def _checked(construct: Callable[[Any, Any], object]) -> Callable[[TextLoader, yaml.ScalarNode], str]:
    def text(loader: TextLoader, node: yaml.ScalarNode) -> str:
        construct(loader, node)
        return str(node.value)

    return text


TextLoader.yaml_implicit_resolvers = {
    start: [(tag, form) for tag, form in resolvers if tag in (f"{_TAG}null", f"{_TAG}merge")]
    for start, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
TextLoader.add_constructor(f"{_TAG}bool", _checked(BoundedLoader.construct_yaml_bool))
TextLoader.add_constructor(_INT, _checked(BoundedLoader.construct_yaml_int))
TextLoader.add_constructor(f"{_TAG}float", _checked(BoundedLoader.construct_yaml_float))
TextLoader.add_constructor(f"{_TAG}timestamp", _checked(BoundedLoader.construct_yaml_timestamp))
# Anywhere but as a key.
TextLoader.add_constructor(f"{_TAG}merge", _checked(BoundedLoader.construct_yaml_str))


def find_yaml(files: FileList) -> tuple[PurePosixPath, list[PurePosixPath]]:
    """The `data.yaml`, or the only yaml file that describes a data set; and others like it, which have no effect.

    Raises InvalidDataset for none, and for several of which none lies below another's folder.
    """
    yamls = sorted(
        (name for name in files.files if name.suffix.lower() in SUFFIXES),
        key=lambda name: (len(name.parts), name.name != "data.yaml", name),
    )
    candidates = [name for name in yamls if name.stem.lower() == "data"]
    # Of several in one folder that are called alike only one can be meant, and it is the one that tools look for.
    rivals = {name.parent: name for name in reversed(candidates)}
    if not candidates:
        # Some exports bring the yaml of a model, too.
        candidates = yamls if len(yamls) == 1 else list(_describing(files, yamls))
        rivals = {name: name for name in candidates}
    if not candidates:
        raise _none_found(files)
    outermost = sorted(name for key, name in rivals.items() if rivals.keys().isdisjoint(key.parents))
    if len(outermost) > 1:
        raise InvalidDataset(
            f"There are {len(outermost)} data sets in one place, described by {several(map(str, outermost))}: give the "
            "folder of one of them, or a zip of it alone."
        )
    return outermost[0], [name for name in candidates if name != outermost[0]]


def folder_meant(source: Path) -> Path:
    """The folder of a data.yaml that is given in its place, as YOLOv5 is given one; else `source` itself.

    Raises InvalidDataset if the folder is read by another yaml.
    """
    if source.suffix.lower() not in SUFFIXES or not source.is_file():
        return source
    name, _ = find_yaml(list_files(source.parent))
    if str(name) != source.name:
        raise InvalidDataset(
            f"{source} is not the yaml that its folder is read by, which is {name}; give each data set a folder of its "
            "own."
        )
    return source.parent


def _none_found(files: FileList) -> InvalidDataset:
    if (recognised := recognise(files)) is not None:
        return InvalidDataset(f"The data set is {recognised}.")
    astray = next((entry for entry in files.astray() if entry.name.suffix.lower() in SUFFIXES), None)
    if astray is not None:
        return InvalidDataset(
            f"The data set has no data.yaml: {astray.name} {astray.reason}; put the file itself in its place."
        )
    packed = next((name for name in files.files if name.suffix.lower() == ".zip"), None)
    if packed is not None:
        return InvalidDataset(
            f"The data set has no data.yaml, but the zip {packed}: unpack it, or give that zip itself."
        )
    return InvalidDataset(
        "The data set has no data.yaml; export it as 'YOLOv5 PyTorch', which puts one at the top of the zip."
    )


def _describing(files: FileList, yamls: list[PurePosixPath]) -> Iterator[PurePosixPath]:
    """Those with the keys of a data.yaml."""
    left = LARGEST_BYTES
    for name in yamls:
        try:
            text = read_text(files, name, left, "too large to be looked into")
            left -= len(text)
            document, _ = _parse(text, name)
        except InvalidDataset:
            continue
        if "names" in document and not document.keys().isdisjoint({"train", "val", "valid"}):
            yield name


def load_yaml(files: FileList, name: PurePosixPath) -> tuple[dict[Any, Any], list[str]]:
    """Its values, every scalar as text, and the keys that are there more than once. Raises InvalidDataset."""
    return _parse(read_text(files, name, LARGEST_BYTES, "which no data.yaml is"), name)


def _parse(text: str, name: PurePosixPath) -> tuple[dict[Any, Any], list[str]]:
    try:
        # Safely, since v7.0 even runs what `download` says: here a data.yaml is values and nothing else.
        loader = TextLoader(text)
        document = loader.get_single_data()
    except yaml.YAMLError as error:
        raise InvalidDataset(f"{name} is not valid YAML ({_where(error)}); repair that line.") from None
    # By a value that is not of its tag's type (!!bool abc), which PyYAML takes for granted.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise InvalidDataset(f"{name} has a value that cannot be read ({_brief(error)}); quote it.") from None
    except RecursionError:
        raise InvalidDataset(f"{name} is nested too deeply to be a data.yaml.") from None
    if not isinstance(document, dict):
        raise InvalidDataset(f"{name} must hold the keys train, val and names, but holds {said(document)}.")
    return document, list(dict.fromkeys(loader.repeated))


def read_text(files: FileList, name: PurePosixPath, largest: int, remark: str) -> str:
    """The content of a text file; `remark` is said of one with more bytes than `largest`. Raises InvalidDataset."""
    path = files.path(name)
    try:
        if not path.is_file():
            raise InvalidDataset(f"{name} is not a file; put a text file in its place.")
        if path.stat().st_size > largest:
            raise InvalidDataset(f"{name} is larger than {largest >> 20} MiB, {remark}.")
        # Windows' editors put a byte order mark before UTF-8.
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidDataset(f"{name} is not text in UTF-8; save it as UTF-8.") from None
    except OSError as error:
        # The volume's fault may pass; whatever else the file is, it will be at the next attempt.
        if error.errno in TRANSIENT_ERRORS:
            raise
        raise InvalidDataset(f"{name} cannot be read ({error.strerror}); repair or remove it.") from None


def _where(error: yaml.YAMLError) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return str(error).splitlines()[0]


def _brief(error: Exception) -> str:
    return str(error)[:LONGEST_EXCERPT] if isinstance(error, ValueError) else "it is not of the type that its tag says"


_EXCERPT = reprlib.Repr()
# Aliases of aliases multiply as merge keys do, once they are written out.
_EXCERPT.maxlevel, _EXCERPT.maxlist, _EXCERPT.maxdict, _EXCERPT.maxstring, _EXCERPT.maxother = 2, 3, 3, 60, 60
_KINDS: dict[type, str] = {list: "a list ", dict: "a mapping ", str: ""}


def said(value: object) -> str:
    """A value as a sentence shows it: never long, whatever it is."""
    return "nothing" if value is None else f"{_KINDS.get(type(value), 'a value ')}{_EXCERPT.repr(value)}"


def several(names: Iterable[str]) -> str:
    """The first few, for a sentence."""
    listed = [name if len(name) <= LONGEST_EXCERPT else f"{name[:LONGEST_EXCERPT]}..." for name in names]
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3:,} more" if len(listed) > 3 else "")
