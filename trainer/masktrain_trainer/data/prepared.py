"""The prepared data set: what `prepare` leaves behind for every rank of the pod."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

FILE_NAME = "prepared.json"


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ImageRecord(_Record):
    name: str
    """Path inside the zip."""
    path: Path
    height: int
    width: int
    """Original size in pixels, the EXIF orientation applied."""


class Split(_Record):
    images: list[ImageRecord]
    labels: Path
    """npz with boxes and, per image, size and place in the cache: see `cache.py`."""
    cache: Path
    """Decoded pixels of all images, for mapping into memory."""


class PreparedDataset(_Record):
    names: list[str]
    image_size: int
    train: Split
    val: Split
    test: Split | None = None


def load_prepared(directory: Path) -> PreparedDataset:
    return PreparedDataset.model_validate_json((directory / FILE_NAME).read_bytes())


def save_prepared(directory: Path, prepared: PreparedDataset) -> None:
    (directory / FILE_NAME).write_text(prepared.model_dump_json(), encoding="utf-8")
