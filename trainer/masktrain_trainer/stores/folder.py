"""A folder as a store, for mounted claims: whole files appear by rename, conditions hold by hard link and lock."""

import contextlib
import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from masktrain_trainer.errors import (
    ConditionsUnsupported,
    ObjectMissing,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from masktrain_trainer.files import sha256_of

from .base import DISK_FULL, ObjectInfo, conditional_writes_work, disk_full

_OWN = ".masktrain-"
_TEMPORARY = f"{_OWN}tmp-"
_LOCK = f"{_OWN}lock"
# link(2) answers EPERM where the file system has no hard links.
_NO_LINKS_OR_LOCKS = {errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.ENOLCK, errno.EMLINK}
_TRIES = 100  # of making a folder that another writer, deleting, may remove just now


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
        if isinstance(body, Path) and (if_absent or if_match is not None):
            raise ValueError("conditions go with bytes only")
        with self._failures(key), self._staged(key, body) as staged:
            if if_absent:
                self._create(key, staged)
            elif if_match is not None:
                self._swap(key, staged, if_match)
            else:
                staged.replace(self._path(key))
            _sync_folder(self._path(key).parent)
            return self._info(key, sha256 or sha256_of(self._path(key)))

    def read(self, key: str) -> bytes:
        with self._failures(key):
            return self._path(key).read_bytes()

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        content = self.read(key)
        return content, sha256_of(content)

    def download(self, key: str, path: Path) -> ObjectInfo:
        try:
            shutil.copyfile(self._path(key), path)
            return self._info(key, None)
        except OSError as error:
            # Nothing is written to this store.
            if error.errno in DISK_FULL:
                raise disk_full(self.uri(key)) from error
            raise self._explain(error, key) from error

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._failures(key):
                return self._info(key, sha256_of(self._path(key)))
        except ObjectMissing:
            return None

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        # In a bucket's order, which os.walk does not keep.
        for key in sorted(self._keys_below(prefix)):
            if key.startswith(prefix) and not key.rpartition("/")[2].startswith(_OWN):
                info = self._found(key)
                if info is not None:
                    yield info

    def delete(self, key: str) -> None:
        with self._failures(key):
            self._path(key).unlink(missing_ok=True)
        self._prune(self._path(key).parent)

    def copy(self, source: str, destination: str) -> None:
        with self._failures(source), self._staged(destination, self._path(source)) as staged:
            staged.replace(self._path(destination))
            _sync_folder(self._path(destination).parent)

    def discard_unfinished(self, prefix: str, *, before: datetime | None = None) -> None:
        for key in self._keys_below(prefix):
            folder, slash, name = key.rpartition("/")
            if name.startswith(_TEMPORARY) and f"{folder}{slash}{name.removeprefix(_TEMPORARY)}".startswith(prefix):
                found = self._found(key)
                if found is not None and (before is None or found.modified < before):
                    self.delete(key)

    def uri(self, key: str) -> str:
        return (self._root / key).as_uri()

    def honours_conditional_writes(self) -> bool:
        return conditional_writes_work(self)

    def _path(self, key: str) -> Path:
        return self._root / key

    def _info(self, key: str, sha256: str | None) -> ObjectInfo:
        found = self._path(key).stat()
        return ObjectInfo(key, found.st_size, sha256 or "", sha256, datetime.fromtimestamp(found.st_mtime, UTC))

    def _found(self, key: str) -> ObjectInfo | None:
        """Of a file that was just listed; None if it was deleted or renamed since."""
        with contextlib.suppress(ObjectMissing), self._failures(key):
            return self._info(key, None)
        return None

    def _keys_below(self, prefix: str) -> Iterator[str]:
        """Every file in the folder that `prefix` leads to: the claim may hold a thousand other jobs."""
        start = self._root / prefix.rpartition("/")[0]
        with self._failures(prefix):
            for folder, _, names in os.walk(start, onerror=_refuse):
                yield from ((Path(folder) / name).relative_to(self._root).as_posix() for name in names)

    @contextlib.contextmanager
    def _staged(self, key: str, body: bytes | Path) -> Iterator[Path]:
        """The content in a temporary file beside the target, synced: a kill leaves the old object or the new one."""
        handle, name = self._open_temporary(self._path(key))
        staged = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                _pour(body, file)
            # mkstemp lets only its own user read, and others shall fetch the results.
            staged.chmod(0o644)
            yield staged
        finally:
            staged.unlink(missing_ok=True)

    def _open_temporary(self, target: Path) -> tuple[int, str]:
        for _ in range(_TRIES):
            target.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return tempfile.mkstemp(prefix=f"{_TEMPORARY}{target.name}-", dir=target.parent)
        raise StoreUnavailable(f"{target.parent} is removed by another writer again and again.")

    def _create(self, key: str, staged: Path) -> None:
        """A hard link is refused where a file exists: atomic on every file system that has links, NFS included."""
        try:
            self._path(key).hardlink_to(staged)
        except FileExistsError as error:
            raise PreconditionFailed(f"{self.uri(key)} exists already.") from error

    def _swap(self, key: str, staged: Path, expected: str) -> None:
        with file_lock(self._root / _LOCK):
            if not self._path(key).is_file() or sha256_of(self._path(key)) != expected:
                raise PreconditionFailed(f"{self.uri(key)} was changed by another writer.")
            staged.replace(self._path(key))

    def _prune(self, folder: Path) -> None:
        """Remove folders that hold nothing any more, up to the root."""
        with contextlib.suppress(OSError):  # not empty
            while folder != self._root:
                folder.rmdir()
                folder = folder.parent

    @contextlib.contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._explain(error, key) from error

    def _explain(self, error: OSError, key: str) -> StoreError:
        uri = self.uri(key)
        if isinstance(error, (FileNotFoundError, IsADirectoryError, NotADirectoryError)):
            return ObjectMissing(f"{uri} does not exist.")
        if error.errno == errno.EACCES:
            return StoreDenied(f"The user of this process may not use {uri}; change the volume's owner or fsGroup.")
        if error.errno == errno.EROFS:
            return StoreDenied(f"{uri} is on a read-only volume; mount it writable or choose another one.")
        if error.errno in _NO_LINKS_OR_LOCKS:
            return ConditionsUnsupported(f"The file system of {uri} has no hard links or no locks.")
        return StoreUnavailable(f"{uri} failed: {error.strerror or error}.")


def _pour(body: bytes | Path, file: BinaryIO) -> None:
    if isinstance(body, bytes):
        file.write(body)
    else:
        with body.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    # Before the rename: a node that crashes may keep the name and lose what was not yet written.
    file.flush()
    os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Without it a crash of the node may undo a rename."""
    with contextlib.suppress(OSError):  # some network file systems cannot, and some other writer may remove the folder
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _refuse(error: OSError) -> None:
    # os.walk would pass over every folder that it cannot read, as if there were no checkpoints in it.
    if not isinstance(error, FileNotFoundError):
        raise error


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold the lock. Raises OSError where the file system has no locks."""
    descriptor = _acquire(path)
    try:
        yield
    finally:
        # While it is still held: a moment later the file may be the lock of somebody else.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path) -> int:
    """Whoever had it before has removed the file: then what was just locked is no longer the lock."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), path.stat()):
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
