"""The threat model promises nothing that no test holds: every row of its table names tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PAGE = REPOSITORY / "docs" / "security.md"
TABLE = "## What is defended by what"
SECTIONS = ["## Assets", "## Actors", "## Boundaries", TABLE, "## What is not defended"]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def section(heading: str) -> str:
    """What stands below a heading, up to the next one."""
    _, _, below = PAGE.read_text(encoding="utf-8").partition(f"{heading}\n")
    return below.partition("\n## ")[0]


def rows() -> list[list[str]]:
    """Cells of the table, without its head."""
    lines = [line for line in section(TABLE).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


ROWS = rows()


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of the test functions of a file; none if it is not there."""
    file = REPOSITORY / path
    if not file.exists():
        return frozenset()
    found = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    functions = (node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return frozenset(name for name in functions if name.startswith("test_"))


def test_the_page_is_whole() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert [heading for heading in SECTIONS if f"\n{heading}\n" not in text] == []
    assert len(ROWS) >= 10


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0][:60])
def test_a_row_names_tests_that_exist(row: list[str]) -> None:
    assert len(row) == 3, "attack, defence, tests"
    attack, defence, tests = row
    assert attack
    assert defence
    named = NAMED.findall(tests)
    assert named, "a defence that no test holds belongs to what is not defended"
    assert [f"{path}::{name}" for path, name in named if name not in functions_of(path)] == []
    assert NAMED.sub("", tests).strip(" ,") == "", "only tests stand in the last column"


def test_every_attack_of_the_suite_stands_in_the_table() -> None:
    """By file: one that nobody finds in the page is a defence that nobody knows of."""
    named = {path for row in ROWS for path, _ in NAMED.findall(row[-1])}
    attacks = {str(file.relative_to(REPOSITORY)) for file in Path(__file__).parent.rglob("test_*.py")}
    assert sorted(attacks - named - {str(Path(__file__).relative_to(REPOSITORY))}) == []


@pytest.mark.parametrize("named", ["`tests/security/test_no_such_file.py::test_x`", "`tests/lanes.py::lane`", "soon"])
def test_the_check_itself_can_fail(named: str) -> None:
    with pytest.raises(AssertionError):
        test_a_row_names_tests_that_exist(["an attack", "a defence", named])
