"""Folders that live as long as a command: decoded images on the disk, checkpoints on their way in memory."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - memory, where the system has such a folder


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """In the user's cache, since /tmp is often memory: a data set is decoded there."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "masktrain"
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@contextmanager
def memory_folder(fallback: Path) -> Iterator[Path]:
    parent = _MEMORY if os.access(_MEMORY, os.W_OK) else fallback
    with tempfile.TemporaryDirectory(prefix="masktrain-", dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)
