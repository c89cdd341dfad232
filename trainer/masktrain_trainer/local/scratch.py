"""Folders that live as long as a command: decoded images on the disk, checkpoints on their way in memory."""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - memory, where the system has such a folder
_ON_DISK, _IN_MEMORY = "scratch-", "masktrain-"
_YOUNG_SECONDS = 60
"""A folder younger than that may just not be locked yet."""


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """In the user's cache, since /tmp is often memory: a data set is decoded there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "masktrain"
    cache.mkdir(parents=True, exist_ok=True)
    with _folder(cache, _ON_DISK) as folder:
        yield folder


@contextmanager
def memory_folder(fallback: Path) -> Iterator[Path]:
    with _folder(_MEMORY if os.access(_MEMORY, os.W_OK) else fallback, _IN_MEMORY) as folder:
        yield folder


@contextmanager
def _folder(parent: Path, prefix: str) -> Iterator[Path]:
    remove_abandoned(parent, prefix)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as name, _locked(name):
        yield Path(name)


def remove_abandoned(parent: Path, prefix: str) -> None:
    """Remove the folders of commands that were killed: nobody holds their lock."""
    for folder in parent.glob(f"{prefix}*"):
        # Somebody else's, in use, or gone by now.
        with contextlib.suppress(OSError), _locked(folder):
            if time.time() - folder.stat().st_mtime > _YOUNG_SECONDS:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path | str) -> Iterator[None]:
    """The kernel frees the lock when this process ends, however it does. Raises OSError if another one holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)
