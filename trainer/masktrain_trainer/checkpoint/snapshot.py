"""A copy of the training state in shared memory: taken between two steps, serialised and stored by another process.

The file is a tree of tensors as `tensor_tree` lays it out, so that the training process pays for one copy and no more.
"""

import errno
import mmap
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .spool import SnapshotMeta, Spool
from .tensor_tree import lay_out, length_of, read_tree

__all__ = ["SnapshotMeta", "UnusableSnapshot", "read_snapshot", "write_snapshot"]


class UnusableSnapshot(ValueError):
    """A file of the spool holds no state that a checkpoint could be made of."""


def write_snapshot(spool: Path, state: dict[str, Any], meta: SnapshotMeta) -> None:
    """Copy `state` (nested dicts, lists and tuples of tensors, numbers, text and None) and offer it to the uploader.

    Raises OSError (ENOSPC) if the shared memory is too small, TypeError for anything that a snapshot cannot hold.
    """
    folder = Spool(spool)
    parts = lay_out({"meta": asdict(meta), "state": state})
    try:
        written = _write(folder, parts)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        folder.make_room()
        written = _write(folder, parts)
    folder.publish(written, meta)


def read_snapshot(path: Path) -> tuple[dict[str, Any], SnapshotMeta]:
    """State and meta of a snapshot. The tensors lie in the file's memory: release it only when they are gone.

    Raises UnusableSnapshot.
    """
    try:
        with path.open("rb") as file:
            # Copy on write, because torch warns about tensors over memory that must not be written.
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        document = read_tree(content)
        return document["state"], SnapshotMeta(**document["meta"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnusableSnapshot(f"Snapshot {path.name} is unreadable and was dropped.") from error


def _write(spool: Spool, parts: list[tuple[int, memoryview]]) -> Path:
    """The written file; one that does not fit is removed again."""
    path = spool.unfinished()
    try:
        _fill(path, parts)
    except OSError:
        path.unlink()
        raise
    return path


def _fill(path: Path, parts: list[tuple[int, memoryview]]) -> None:
    """By write calls, not through a map: full memory gives an error instead of killing the process, and no page is
    cleared before it is filled.
    """
    with path.open("r+b", buffering=0) as file:
        for offset, view in parts:
            _write_all(file.fileno(), view, offset)
        # The file may be an older and longer snapshot, and readers look for the length at its end.
        file.truncate(length_of(parts))


def _write_all(descriptor: int, view: memoryview, offset: int) -> None:
    while view:
        # A write may take less than it is given: Linux stops at 2 GiB.
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
