"""A data set as a zip that is the same for the same files, so that its SHA-256 names the data and not the moment."""

import hashlib
import shutil
import zipfile
from pathlib import Path

from masktrain_trainer.data.archive import SYSTEM_CLUTTER
from masktrain_trainer.data.data_yaml import IMAGE_SUFFIXES
from masktrain_trainer.data.errors import InvalidDataset

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can hold."""
_MODE = 0o100644 << 16
_TEXTS = frozenset({".txt", ".yaml", ".yml", ".md"})


def zip_folder(folder: Path, archive: Path) -> None:
    """Pack the images, labels and texts of `folder`, sorted by name and without times. Images are compressed already.

    Raises InvalidDataset if there is nothing to pack.
    """
    files = sorted(path for path in folder.rglob("*") if path.is_file() and _belongs(path.relative_to(folder)))
    if not files:
        raise InvalidDataset(f"{folder} holds neither images nor labels; give the folder that holds data.yaml.")
    with zipfile.ZipFile(archive, "w", strict_timestamps=False) as sink:
        for path in files:
            _add(sink, path, path.relative_to(folder).as_posix())


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_archive(source: Path, scratch: Path) -> Path:
    """The zip at `source`, or a new one in `scratch` of the folder at `source`. Raises InvalidDataset."""
    if not source.exists():
        raise InvalidDataset(f"{source} does not exist; give the data set's folder or zip.")
    if source.is_file():
        return source.resolve()
    archive = scratch / "dataset.zip"
    zip_folder(source, archive)
    return archive


def _belongs(path: Path) -> bool:
    if any(part in SYSTEM_CLUTTER or part.startswith(".") for part in path.parts):
        return False
    return path.suffix.lower() in IMAGE_SUFFIXES | _TEXTS


def _add(sink: zipfile.ZipFile, path: Path, name: str) -> None:
    member = zipfile.ZipInfo(name, _EPOCH)
    member.external_attr = _MODE
    member.create_system = 3
    member.file_size = path.stat().st_size
    member.compress_type = zipfile.ZIP_DEFLATED if path.suffix.lower() in _TEXTS else zipfile.ZIP_STORED
    with path.open("rb") as source, sink.open(member, "w") as target:
        shutil.copyfileobj(source, target, 1 << 20)
