"""`operator/` must never become a package: it would hide the standard library's module of that name.

An interpreter that has cached the module already does not notice, so a fresh one without `site` is asked.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("file", ["operator/__init__.py", "operator/operator.py", "operator/__init__.pyi"])
def test_nothing_hides_the_standard_librarys_operator(file: str) -> None:
    assert not (REPOSITORY / file).exists()


@pytest.mark.parametrize("path", ["", "operator", "."], ids=["none", "operator", "root"])
def test_a_fresh_interpreter_imports_the_standard_library(path: str) -> None:
    command = [sys.executable, "-S", "-c", "import collections, operator; operator.itemgetter"]
    subprocess.run(command, cwd=REPOSITORY, env=os.environ | {"PYTHONPATH": path}, check=True)
