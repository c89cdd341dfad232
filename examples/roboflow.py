"""Write a data set the way Roboflow exports YOLOv5 ones, so that the examples take the same path as users' data."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

Box = tuple[int, float, float, float, float]
"""Class, centre x, centre y, width, height; the last four as fractions of the image."""

LONG_AGO = (1980, 1, 1, 0, 0, 0)
"""Time stamp of every member: the same data gives the same zip, byte for byte."""


@dataclass(frozen=True)
class Example:
    """One labelled image of an export."""

    split: str
    """`train`, `valid` or `test`."""
    name: str
    """File name before Roboflow's additions, such as `street-0001`."""
    jpeg: bytes
    boxes: list[Box]

    @property
    def stem(self) -> str:
        return f"{self.name}_jpg.rf.{hashlib.sha256(self.jpeg).hexdigest()[:32]}"

    @property
    def label_text(self) -> str:
        return "\n".join(" ".join([str(box[0]), *(f"{side:.8g}" for side in box[1:])]) for box in self.boxes)


def write_export(path: Path, examples: Iterable[Example], *, names: list[str], project: str, licence: str) -> Path:
    """Write the zip at `path` and return it."""
    splits: set[str] = set()
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for example in examples:
            _add(archive, f"{example.split}/images/{example.stem}.jpg", example.jpeg, zipfile.ZIP_STORED)
            _add(
                archive, f"{example.split}/labels/{example.stem}.txt", example.label_text.encode(), zipfile.ZIP_DEFLATED
            )
            splits.add(example.split)
        _add(archive, "data.yaml", data_yaml(names, splits, project, licence).encode(), zipfile.ZIP_DEFLATED)
    return path


def describe(path: Path) -> str:
    """One line that says how many images and boxes the zip at `path` holds."""
    images, boxes = Counter[str](), Counter[str]()
    with zipfile.ZipFile(path) as archive:
        names = yaml.safe_load(archive.read("data.yaml"))["names"]
        for member in archive.namelist():
            images.update([member.split("/")[0]] if member.endswith(".jpg") else [])
            rows = archive.read(member).decode().splitlines() if member.endswith(".txt") else []
            boxes.update(names[int(row.split()[0])] for row in rows)
    splits = ", ".join(f"{count} {split} images" for split, count in images.items())
    return f"{splits}; boxes: {', '.join(f'{boxes[name]} {name}' for name in names)}"


def data_yaml(names: list[str], splits: set[str], project: str, licence: str) -> str:
    """The `data.yaml` of an export: its paths point one folder too high, as Roboflow's do."""
    key = {"train": "train", "valid": "val", "test": "test"}
    paths = "".join(f"{key[split]}: ../{split}/images\n" for split in ("train", "valid", "test") if split in splits)
    return (
        f"{paths}\nnc: {len(names)}\nnames: {json.dumps(names)}\n\n"
        f"roboflow:\n  workspace: masktrain\n  project: {project}\n  version: 1\n  license: {licence}\n"
        f"  url: https://universe.roboflow.com/masktrain/{project}/dataset/1\n"
    )


def _add(archive: zipfile.ZipFile, name: str, body: bytes, compression: int) -> None:
    member = zipfile.ZipInfo(name, LONG_AGO)
    member.compress_type = compression
    member.external_attr = 0o644 << 16
    archive.writestr(member, body)
