"""A serialised file that waits to be stored. No torch here: restoring and finishing start without it."""

from dataclasses import dataclass
from pathlib import Path

from .manifest import StoredFile


@dataclass(frozen=True)
class LocalFile:
    """A file on disk under the name that it gets in the store."""

    name: str
    path: Path
    sha256: str
    size_bytes: int

    def stored(self) -> StoredFile:
        return StoredFile(name=self.name, size_bytes=self.size_bytes, sha256=self.sha256)
