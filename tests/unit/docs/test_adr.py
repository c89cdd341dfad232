"""Decisions are dated, say whether they still hold, and name each other in both directions."""

import re
from datetime import date
from pathlib import Path

import pytest

ADR = Path(__file__).parents[3] / "docs" / "adr"
PAGES = sorted(ADR.glob("*.md"))
STATUS = re.compile(r"^Status: (Proposed|Accepted|Superseded by \[\d{4}\]\(\S+\))(; .+)?$")
OPPOSITES = {
    "amended by": "amends",
    "amends": "amended by",
    "superseded by": "supersedes",
    "supersedes": "superseded by",
}
RELATION = re.compile(
    r"(amended by|amends|superseded by|supersedes) ((?:\[\d{4}\]\([^)]+\)(?:, | and )?)+)", re.IGNORECASE
)


def head(page: Path) -> list[str]:
    """Title, status and date."""
    lines = [line.rstrip() for line in page.read_text(encoding="utf-8").splitlines()]
    return [lines[0], lines[2], lines[4]]


def relations(page: Path) -> set[tuple[str, str]]:
    """What its status says about other pages: (amends, 0001-….md)."""
    found = RELATION.findall(head(page)[1])
    return {(how.lower(), target) for how, links in found for target in re.findall(r"\(([^)]+)\)", links)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_a_number_a_status_and_a_date(page: Path) -> None:
    title, status, day = head(page)
    assert title.startswith(f"# {int(page.name[:4])}. ")
    assert STATUS.match(status), status
    assert date.fromisoformat(day.removeprefix("Date: ")) >= date(2026, 11, 1)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_has_a_context_and_a_price(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings[:3] == ["Context", "Decision", "What it costs"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_decision_that_another_one_changed_says_so(page: Path) -> None:
    for how, target in relations(page):
        assert (ADR / target).exists(), f"{page.name} names {target}"
        assert (OPPOSITES[how], page.name) in relations(ADR / target), f"{target} does not name {page.name}"


def test_numbers_are_used_once() -> None:
    numbers = [int(page.name[:4]) for page in PAGES]
    assert numbers == list(range(1, len(PAGES) + 1))
