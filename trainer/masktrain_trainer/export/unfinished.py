"""A failed export leaves no half of a file behind, and the one of the last export as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def finished_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it replaces `path` at the end, or is gone after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
