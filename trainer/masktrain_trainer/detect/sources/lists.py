"""Lists of sources, one a line, as files."""

from pathlib import Path
from typing import Final, NamedTuple

from masktrain_trainer.errors import InvalidConfiguration

LONGEST_LIST: Final = 64 << 20
"""Bytes; a line for each of half a million files."""


class ListLine(NamedTuple):
    """`number`: in the file, where the first line is 1, so that a person finds it."""

    number: int
    text: str


def list_lines(text: str) -> list[ListLine]:
    """Those that name something: no blank lines, no comments, nothing a second time."""
    first: dict[str, ListLine] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            first.setdefault(stripped, ListLine(number, stripped))
    return list(first.values())


def read_list(path: Path) -> list[ListLine]:
    """Raises InvalidConfiguration."""
    try:
        if path.stat().st_size > LONGEST_LIST:
            raise InvalidConfiguration(f"{path} is larger than {LONGEST_LIST >> 20} MiB, and no list.")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InvalidConfiguration(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise InvalidConfiguration(f"{path} is not a list: it is no text in UTF-8.") from None
    lines = list_lines(text)
    if not lines:
        raise InvalidConfiguration(f"{path} names nothing; write an image, a video or a stream a line.")
    return lines
