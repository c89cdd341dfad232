"""Helm without a cluster."""

import subprocess
from typing import Any

import yaml

from devcluster.layout import REPOSITORY
from devcluster.programs.build import program_paths

NAME = "masktrain-operator"
CHART = REPOSITORY / "charts" / NAME
OPERATOR_NAMESPACE = "masktrain-system"


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The outcome, whatever it is."""
    return subprocess.run([str(program_paths()["helm"]), *arguments], capture_output=True, text=True, check=False)


def template(*options: str, release: str = NAME) -> subprocess.CompletedProcess[str]:
    return helm("template", release, str(CHART), f"--namespace={OPERATOR_NAMESPACE}", *options)


def render(*options: str, release: str = NAME) -> list[dict[str, Any]]:
    """The chart's objects, without those that `helm test` alone makes."""
    return _rendered("--skip-tests", *options, release=release)


def render_tests(*options: str) -> list[dict[str, Any]]:
    """What is there during `helm test`."""
    return [found for found in _rendered(*options, release=NAME) if _is_test(found)]


def _is_test(found: dict[str, Any]) -> bool:
    return bool(found["metadata"].get("annotations", {}).get("helm.sh/hook") == "test")


def _rendered(*options: str, release: str) -> list[dict[str, Any]]:
    done = template(*options, release=release)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def one(objects: list[dict[str, Any]], kind: str, name: str = NAME) -> dict[str, Any]:
    """The only object of that kind and name."""
    (found,) = [found for found in objects if (found["kind"], found["metadata"]["name"]) == (kind, name)]
    return found
