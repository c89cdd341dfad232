"""The first version's private words stay gone. docs/adr/0010-fewer-larger-rooms.md has the table of old and new."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[3]
SOURCES = sorted(path for folder in ("operator", "trainer") for path in (REPOSITORY / folder).rglob("*.py"))

ANYWHERE = {
    "story",
    "stories",
    "chapter",
    "chapters",
    "board",
    "room",
    "rooms",
    "stock",
    "stocks",
    "settle",
    "settled",
    "settles",
    "wishes",
}
"""Never a part of a name."""
IN_CLASSES = {"Standing", "Situation", "Question", "Made", "Unfinished", "Told", "Words"}
"""Plain English in a variable, and a riddle as the name of a class."""
ALLOWED = {
    "settled_amount": "a field of stored statuses",
    "settled_gpu_seconds": "a field of stored statuses",
    "settled_idle_amount": "a field of stored statuses",
    "SETTLED": "a reason of stored conditions",
    "make_room": "in the sense of space",
}
"""Names in which such a word is the field's own, and why."""


def words(name: str) -> list[str]:
    """`take_stock`, `PoolRooms` and `GPUNode` in their parts."""
    return re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", name)


def names(path: Path) -> Iterator[tuple[str, int]]:
    """The module's own name, and every identifier in it with its line."""
    yield path.stem, 0
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type == tokenize.NAME:
            yield token.string, token.start[0]


def is_of_the_dialect(name: str) -> bool:
    parts = words(name)
    is_class = name.lstrip("_")[:1].isupper() and name != name.upper()
    return bool(ANYWHERE & {part.lower() for part in parts}) or (is_class and bool(IN_CLASSES & set(parts)))


def test_no_old_word_comes_back() -> None:
    found = {
        f"{path.relative_to(REPOSITORY)}:{line} {name}"
        for path in SOURCES
        for name, line in names(path)
        if is_of_the_dialect(name) and name not in ALLOWED
    }
    assert sorted(found) == []


def test_every_exception_is_needed() -> None:
    used = {name for path in SOURCES for name, _ in names(path)}
    assert set(ALLOWED) <= used


def test_words_are_told_apart() -> None:
    assert words("PoolRooms") == ["Pool", "Rooms"]
    assert is_of_the_dialect("take_stock")
    assert is_of_the_dialect("PoolSituation")
    assert is_of_the_dialect("MANY_ROOMS")
    assert not is_of_the_dialect("dashboard")
    assert not is_of_the_dialect("made")
