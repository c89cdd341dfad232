"""Files: the one SHA-256 of a content, and the one write that a reader sees whole or not at all."""

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path

from .errors import InvalidConfiguration

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


RESULTS_MARK = ".masktrain-results"
"""A file in a folder that a command writes results to, so that none takes them for data."""


@contextmanager
def claimed_output(asked: Path, holds: str) -> Iterator[Path]:
    """The folder for the results: the one that was asked for if nothing lies there, else a numbered one beside it.

    It is there from now on, marked, and no other run's. What nothing was written to is gone again at the end. `holds`:
    what will lie in it. Raises InvalidConfiguration if it is a file, lies in one, or is the top of the file system,
    beside which there is nothing; OSError if it cannot be made.
    """
    _refuse_impossible(asked, holds)
    folder, made = next(claim for path in _numbered(asked) if (claim := _claim(path)) is not None)
    try:
        yield folder
    finally:
        _give_back(folder, made)


def _refuse_impossible(asked: Path, holds: str) -> None:
    if not asked.resolve().name:
        raise InvalidConfiguration(f"--output {asked} is the top of the file system; give a folder below it.")
    in_the_way = next((path for path in (asked, *asked.parents) if path.exists() and not path.is_dir()), None)
    if in_the_way is not None:
        raise InvalidConfiguration(f"{in_the_way} is a file; --output is the folder for {holds}.")


def _numbered(path: Path) -> Iterator[Path]:
    """The path itself, `path2`, `path3` and so on: as YOLOv5 numbers its runs."""
    # `.` and `..` are no names that a number could follow.
    named = path if path.name not in ("", "..") else path.resolve()
    return chain([path], (named.with_name(f"{named.name}{number}") for number in count(2)))


def _claim(folder: Path) -> tuple[Path, list[Path]] | None:
    """The folder and those that were made for it, the innermost first; None if something lies there. Raises OSError."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True)
    except FileExistsError:
        if not folder.is_dir() or next(folder.iterdir(), None) is not None:
            return None
        missing = []
    try:
        # Of two runs that find it empty the first to make the mark has it.
        (folder / RESULTS_MARK).touch(exist_ok=False)
    except FileExistsError:
        return None
    except OSError:
        _remove_empty(missing)
        raise
    return folder, missing


def _give_back(folder: Path, made: Sequence[Path]) -> None:
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == [RESULTS_MARK]:
            (folder / RESULTS_MARK).unlink()
            _remove_empty(made)


def _remove_empty(folders: Sequence[Path]) -> None:
    """As far as nothing lies in them."""
    with contextlib.suppress(OSError):
        for folder in folders:
            folder.rmdir()


def make_results_folder(path: Path) -> None:
    """A folder, marked as one of results; if it is there already it only gets the mark."""
    path.mkdir(parents=True, exist_ok=True)
    (path / RESULTS_MARK).touch()


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
