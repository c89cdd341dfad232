"""Files: the one SHA-256 of a content, and the one write that a reader sees whole or not at all."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

log = logging.getLogger(__name__)

_RESERVED_BYTES = 8 << 10
"""More than the outcome of a rank, a reason and a sentence, ever has."""


def sha256_of(body: bytes | Path) -> str:
    """SHA-256 of bytes or of a file's content, in lower-case hex."""
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest()
    with body.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def finished_whole(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it replaces `path` at the end, or is gone after an error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside it and not in a temporary folder, because a rename does not cross file systems.
    unfinished = path.with_name(f".{path.name}.tmp")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def unused(path: Path) -> Path:
    """The path itself, else the first of `path2`, `path3`, … where nothing lies: as YOLOv5 numbers its runs."""
    numbered = (path.with_name(f"{path.name}{number}") for number in count(2))
    return next(candidate for candidate in chain([path], numbered) if not candidate.exists())


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the file's content, in UTF-8."""
    with finished_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_news(path: Path, text: str) -> None:
    """Replace the content of a file that only tells how things stand: a full disk costs the news and nothing else."""
    try:
        write_text_atomically(path, text)
    except OSError as error:
        log.warning("%s is out of date: %s", path.name, error)


def reserve(path: Path) -> None:
    """Take the disk space of `write_reserved` now, if there is any left."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _reserved(path).write_bytes(b" " * _RESERVED_BYTES)


def write_reserved(path: Path, text: str) -> None:
    """Replace the JSON file's content, in UTF-8, also on a disk that is full since `reserve`. Raises OSError."""
    try:
        # Over the blanks that lie there: opened for writing the file would first give its space back, to whoever fills
        # the disk.
        with _reserved(path).open("r+b") as file:
            # What remains of the blanks behind it JSON permits.
            file.write(text.encode())
        _reserved(path).replace(path)
    except FileNotFoundError:
        write_text_atomically(path, text)


def _reserved(path: Path) -> Path:
    return path.with_name(f".{path.name}.reserved")
