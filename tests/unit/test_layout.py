"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest
import yaml

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from tests.layout import HOUSES, House, modules_below

REPOSITORY = Path(__file__).parents[2]
FOLDERS = ("operator", "trainer", "devcluster")
SOURCES = sorted(path for folder in FOLDERS for path in (REPOSITORY / folder).rglob("*.py"))
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/job*.yaml"))
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}


def relative(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


@pytest.mark.parametrize("name", ["__init__.py", "operator.py"])
def test_the_standard_librarys_operator_is_not_shadowed(name: str) -> None:
    assert not (REPOSITORY / "operator" / name).exists()


def test_modules_are_named_for_what_they_do() -> None:
    assert [relative(path) for path in SOURCES if path.stem in VAGUE_NAMES] == []


def test_modules_say_why_they_exist() -> None:
    silent = [path for path in SOURCES if path.stat().st_size and not ast.get_docstring(_parsed(path))]
    assert [relative(path) for path in silent] == []


@pytest.mark.parametrize("house", HOUSES, ids=lambda house: house.name)
def test_the_sources_are_cut_into_few_larger_rooms(house: House) -> None:
    """`python -m tests.layout` prints all the numbers."""
    broken = [f"{measure.what}: {measure.value:g} {measure.where}" for measure in house.measures() if not measure.holds]
    assert broken == []


def test_nothing_outside_the_tests_imports_them() -> None:
    outside = modules_below(*FOLDERS, "examples", "benchmarks")
    importing = {module.shown_path for module in outside for name in module.imported_names() if _is_test(name)}
    assert importing == set()


@pytest.mark.parametrize("path", EXAMPLES, ids=relative)
def test_examples_are_what_the_operator_reads(path: Path) -> None:
    body = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "namespace" not in body["metadata"], "a user says which"
    assigned = {"namespace": "default", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    MaskTrainingJob.parse({**body, "metadata": {**body["metadata"], **assigned}})


def _is_test(name: str) -> bool:
    return name.partition(".")[0] == "tests"


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
