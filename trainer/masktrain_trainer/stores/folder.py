"""A folder as a store, for mounted claims: whole files appear by rename, conditions hold under a lock."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from .base import ObjectInfo
from .errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreUnavailable

_TEMPORARY = ".masktrain-tmp-"
_LOCK = ".masktrain-lock"


class FolderStore:
    """Keys are paths below `root`. An object's etag is its SHA-256."""

    def __init__(self, root: Path) -> None:
        """`root` is made on the first write."""
        self._root = root

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        with self._failures(key), self._locked(if_absent or if_match is not None):
            self._check(key, if_absent, if_match)
            self._write(key, body)
        return self._info(key, sha256 or self._sha256(key))

    def read(self, key: str) -> bytes:
        with self._failures(key):
            return self._path(key).read_bytes()

    def download(self, key: str, path: Path) -> ObjectInfo:
        with self._failures(key):
            shutil.copyfile(self._path(key), path)
        return self._info(key, None)

    def head(self, key: str) -> ObjectInfo | None:
        with self._failures(key):
            return self._info(key, self._sha256(key)) if self._path(key).is_file() else None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        with self._failures(prefix):
            files = sorted(path for path in self._root.rglob("*") if path.is_file())
        keys = (path.relative_to(self._root).as_posix() for path in files if not path.name.startswith(".masktrain-"))
        for key in keys:
            if key.startswith(prefix):
                with contextlib.suppress(FileNotFoundError):  # deleted since it was listed
                    yield self._info(key, None)

    def delete(self, key: str) -> None:
        with self._failures(key):
            self._path(key).unlink(missing_ok=True)
            for folder in self._path(key).relative_to(self._root).parents:
                with contextlib.suppress(OSError):  # not empty
                    (self._root / folder).rmdir() if folder != Path() else None

    def copy(self, source: str, destination: str) -> None:
        with self._failures(source):
            self._write(destination, self._path(source))

    def uri(self, key: str) -> str:
        return (self._root / key).as_uri()

    def honours_conditional_writes(self) -> bool:
        return True

    def _path(self, key: str) -> Path:
        return self._root / key

    def _sha256(self, key: str) -> str:
        with self._path(key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _info(self, key: str, sha256: str | None) -> ObjectInfo:
        found = self._path(key).stat()
        return ObjectInfo(key, found.st_size, sha256 or "", sha256, datetime.fromtimestamp(found.st_mtime, UTC))

    def _check(self, key: str, if_absent: bool, if_match: str | None) -> None:
        exists = self._path(key).is_file()
        if if_absent and exists:
            raise PreconditionFailed(f"{self.uri(key)} exists already.")
        if if_match is not None and (not exists or self._sha256(key) != if_match):
            raise PreconditionFailed(f"{self.uri(key)} was changed by another writer.")

    def _write(self, key: str, body: bytes | Path) -> None:
        """Synced under a temporary name first: a kill leaves the old file or the new one."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                _pour(body, file)
            Path(name).chmod(0o644)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    @contextlib.contextmanager
    def _locked(self, needed: bool) -> Iterator[None]:
        if not needed:
            yield
            return
        self._root.mkdir(parents=True, exist_ok=True)
        with (self._root / _LOCK).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextlib.contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise ObjectMissing(f"{self.uri(key)} does not exist.") from error
        except PermissionError as error:
            raise StoreDenied(
                f"The user of this process may not use {self.uri(key)}; change the volume's owner or fsGroup."
            ) from error
        except OSError as error:
            raise StoreUnavailable(f"{self.uri(key)} failed: {error.strerror or error}.") from error


def _pour(body: bytes | Path, file: BinaryIO) -> None:
    if isinstance(body, bytes):
        file.write(body)
    else:
        with body.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    file.flush()
    os.fsync(file.fileno())
