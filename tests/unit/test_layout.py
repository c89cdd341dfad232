"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest
import yaml

from masktrain_operator.api.v1alpha1 import MaskTrainingJob

REPOSITORY = Path(__file__).parents[2]
SOURCES = sorted(path for folder in ("operator", "trainer") for path in (REPOSITORY / folder).rglob("*.py"))
EXAMPLES = sorted((REPOSITORY / "examples").glob("*/job*.yaml"))
LONGEST_FILE = 450
LONGEST_FUNCTION = 60
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


def test_files_are_short() -> None:
    long = [path for path in SOURCES if len(path.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE]
    assert [relative(path) for path in long] == []


def test_functions_are_short() -> None:
    long = [
        f"{relative(path)}:{node.lineno} {node.name}"
        for path in SOURCES
        for node in ast.walk(_parsed(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or node.lineno) - node.lineno >= LONGEST_FUNCTION
    ]
    assert long == []


@pytest.mark.parametrize("path", EXAMPLES, ids=relative)
def test_examples_are_what_the_operator_reads(path: Path) -> None:
    body = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "namespace" not in body["metadata"], "a user says which"
    assigned = {"namespace": "default", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    MaskTrainingJob.parse({**body, "metadata": {**body["metadata"], **assigned}})


def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
