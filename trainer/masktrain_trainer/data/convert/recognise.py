"""What a folder without a data.yaml is: the export of another tool, known by the names and first bytes of its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath

from ..source.file_list import FileList
from .json_exports import is_coco, is_label_studio
from .xml_exports import is_cvat, is_pascal_voc

SNIFFED = 4096
"""Bytes at the beginning, and as many at the end, of a file that is looked into."""
MOST_SNIFFED = 20
"""Files of one ending that are opened to say what a folder is."""
Look = Callable[[PurePosixPath, bytes], bool]


@dataclass(frozen=True)
class Kind:
    """A format. `files`: how the names of its files end; `fits` answers by name and first and last bytes."""

    title: str
    files: tuple[str, ...]
    fits: Look
    is_converted: bool = True


@dataclass(frozen=True)
class Found:
    """The files of a folder that are of a kind."""

    kind: Kind
    names: list[PurePosixPath]


def _is_createml(name: PurePosixPath, text: bytes) -> bool:
    is_one = text.startswith(b"[") and b'"coordinates"' in text and b'"annotations"' in text
    return is_one or name.name.lower().endswith(".createml.json")


def _is_csv(name: PurePosixPath, text: bytes) -> bool:
    first = text.split(b"\n", 1)[0].lower()
    return name.name.lower() == "_annotations.csv" or (b"xmin" in first and b"ymax" in first)


COCO = Kind("COCO", (".json",), is_coco)
LABEL_STUDIO = Kind("Label Studio", (".json",), is_label_studio)
PASCAL_VOC = Kind("Pascal VOC", (".xml",), is_pascal_voc)
CVAT = Kind("CVAT", (".xml",), is_cvat)
DARKNET = Kind("Darknet YOLO", (".names", ".labels", "classes.txt"), lambda *_: True)
CREATE_ML = Kind("CreateML", (".json",), _is_createml, is_converted=False)
KINDS = (
    CREATE_ML,
    COCO,
    LABEL_STUDIO,
    CVAT,
    PASCAL_VOC,
    Kind("LabelMe", (".json",), lambda _, text: b'"shapes"' in text and b'"imagePath"' in text, is_converted=False),
    Kind("VGG Image Annotator", (".json",), lambda _, text: b'"shape_attributes"' in text, is_converted=False),
    DARKNET,
    Kind("TFRecord", (".tfrecord", ".tfrecords", ".record"), lambda *_: True, is_converted=False),
    Kind("TensorFlow CSV", (".csv",), _is_csv, is_converted=False),
)
"""In the order in which they are tried: of a file that fits several the first counts."""


def recognise(files: FileList) -> str | None:
    """What the folder is, as the rest of a sentence that begins with its name, with what to do; None if unknown."""
    found = find_exports(files, MOST_SNIFFED)
    if not found:
        return None
    first = found[0]
    what = f"a {first.kind.title} export ({first.names[0]})"
    if not first.kind.is_converted:
        return f"{what}, which cannot be converted; export the data set as 'YOLOv5 PyTorch'"
    return f"{what}; run `masktrain data convert SOURCE DESTINATION`, or export the data set as 'YOLOv5 PyTorch'"


def find_exports(files: FileList, most: int | None = None) -> list[Found]:
    """Files by kind, in the order of `KINDS`; of each ending `most` are opened."""
    found: dict[Kind, list[PurePosixPath]] = {}
    for ending in dict.fromkeys(ending for kind in KINDS for ending in kind.files):
        for name in islice((name for name in files.files if name.name.lower().endswith(ending)), most):
            kind = _kind_of(name, ending, files)
            if kind is not None:
                found.setdefault(kind, []).append(name)
    return [Found(kind, found[kind]) for kind in KINDS if kind in found]


def _kind_of(name: PurePosixPath, ending: str, files: FileList) -> Kind | None:
    text = _beginning_and_end(files, name)
    return next((kind for kind in _of_ending(ending) if kind.fits(name, text)), None)


def _of_ending(ending: str) -> Iterator[Kind]:
    yield from (kind for kind in KINDS if ending in kind.files)


def _beginning_and_end(files: FileList, name: PurePosixPath) -> bytes:
    """Without the white space and the byte order mark that a text may begin with, and the zeros of UTF-16."""
    with files.path(name).open("rb") as file:
        head = file.read(SNIFFED)
        file.seek(0, 2)
        file.seek(max(file.tell() - SNIFFED, len(head)))
        text = head + file.read(SNIFFED)
    return text.removeprefix(b"\xef\xbb\xbf").removeprefix(b"\xff\xfe").replace(b"\0", b"").lstrip()
