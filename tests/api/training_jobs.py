"""The resources that the tests of the API create."""

import copy
from typing import Any

MINIMAL: dict[str, Any] = {
    "apiVersion": "masktrain.dev/v1alpha1",
    "kind": "MaskTrainingJob",
    "metadata": {"name": "masks"},
    "spec": {"dataset": {"uri": "s3://datasets/masks.zip"}, "checkpoint": {"uri": "s3://checkpoints"}},
}


def training_job(name: str = "masks", **fields: Any) -> dict[str, Any]:
    """The smallest job; `compute__nodes=2` sets spec.compute.nodes, None removes a field."""
    manifest = copy.deepcopy(MINIMAL)
    manifest["metadata"]["name"] = name
    for path, value in fields.items():
        change(manifest["spec"], path.split("__"), value)
    return manifest


def change(section: dict[str, Any], path: list[str], value: Any) -> None:
    """Set or, by None, remove the field at `path`."""
    *parents, field = path
    for parent in parents:
        section = section.setdefault(parent, {})
    if value is None:
        section.pop(field, None)
    else:
        section[field] = value
