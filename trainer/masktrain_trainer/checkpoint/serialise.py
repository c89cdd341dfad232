"""Files of a checkpoint, serialised and hashed in one pass."""

import hashlib
from pathlib import Path
from typing import Any, BinaryIO

import torch

from .local_file import LocalFile


class _HashingWriter:
    """What torch.save needs of a file, hashing what passes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.sha256.update(data)
        written = self._file.write(data)
        self.size += written
        return written

    def flush(self) -> None:
        self._file.flush()


def save(document: dict[str, Any], name: str, folder: Path) -> LocalFile:
    """Write `document` as the torch file `name` in `folder`."""
    path = folder / name
    with path.open("wb") as file:
        writer = _HashingWriter(file)
        torch.save(document, writer)  # type: ignore[arg-type]
    return LocalFile(name, path, writer.sha256.hexdigest(), writer.size)
