"""Files: the one SHA-256 of a content, and the one write that a reader sees whole or not at all."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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


def write_text_atomically(path: Path, text: str) -> None:
    """Replace the file's content, in UTF-8."""
    with finished_whole(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
