"""The CustomResourceDefinition of MaskTrainingJob, generated from the pydantic types.

`python -m masktrain_operator.api.crd --write` refreshes the manifests in the repository; `--check` exits 1 if they are
not what the types say.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

from . import labels
from .rules import object_rules, spec_rules
from .schema import Schema, structural_schema
from .spec import MaskTrainingJobSpec
from .status import MaskTrainingJobStatus

REPOSITORY = Path(__file__).parents[3]
FILE_NAME = f"{labels.GROUP}_{labels.PLURAL}.yaml"
MANIFESTS = (
    REPOSITORY / "crds" / FILE_NAME,
    REPOSITORY / "charts" / "masktrain-operator" / "files" / FILE_NAME,
)
"""The second one is what the chart's template includes."""
HEADER = "# Generated from operator/masktrain_operator/api by `python -m masktrain_operator.api.crd --write`.\n"

_COLUMNS = (
    ("State", "string", ".status.state", 0),
    ("Epoch", "integer", ".status.progress.epoch", 0),
    ("mAP50", "string", ".status.progress.mAP50", 0),
    ("Restarts", "integer", ".status.restarts.total", 0),
    ("Age", "date", ".metadata.creationTimestamp", 0),
    ("Best", "string", ".status.checkpoints.best.uri", 1),
    ("Attempt", "integer", ".status.attempt", 1),
)


def custom_resource_definition() -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": labels.CRD_NAME},
        "spec": {
            "group": labels.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": labels.KIND,
                "listKind": f"{labels.KIND}List",
                "plural": labels.PLURAL,
                "singular": labels.SINGULAR,
                "shortNames": ["mtj"],
                "categories": ["masktrain"],
            },
            "versions": [_version()],
        },
    }


def _version() -> dict[str, Any]:
    return {
        "name": labels.VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in _COLUMNS
        ],
        "schema": {"openAPIV3Schema": _schema()},
    }


def _schema() -> Schema:
    spec = structural_schema(MaskTrainingJobSpec)
    status = structural_schema(MaskTrainingJobStatus)
    return {
        "type": "object",
        "description": "One training run of a YOLOv5 detector on GPU nodes.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec | {"description": "What is wanted.", "x-kubernetes-validations": spec_rules()},
            "status": status | {"description": "What is; written by the operator."},
        },
        "x-kubernetes-validations": object_rules(),
    }


def manifest() -> str:
    """The definition as YAML."""
    return HEADER + yaml.safe_dump(custom_resource_definition(), sort_keys=False, width=120, allow_unicode=True)


def main() -> int:
    """Write or check the manifests; 1 if the check finds one that differs."""
    parser = argparse.ArgumentParser(description="The CustomResourceDefinition of MaskTrainingJob.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="refresh the manifests")
    action.add_argument("--check", action="store_true", help="exit 1 if a manifest is not what the types say")
    return _write() if parser.parse_args().write else _check()


def _write() -> int:
    for path in MANIFESTS:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(manifest(), encoding="utf-8")
    return 0


def _check() -> int:
    stale = [path for path in MANIFESTS if not path.exists() or path.read_text(encoding="utf-8") != manifest()]
    for path in stale:
        sys.stderr.write(
            f"{path.relative_to(REPOSITORY)} is stale: run `python -m masktrain_operator.api.crd --write`\n"
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
