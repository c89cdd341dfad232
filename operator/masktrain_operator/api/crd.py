"""The CustomResourceDefinitions of MaskTrainingJob and GPUNodePool, generated from the pydantic types.

`python -m masktrain_operator.api.crd --write` refreshes the manifests in the repository; `--check` exits 1 if they are
not what the types say. On the way pydantic's JSON schema becomes the structural OpenAPI v3 schema that the API server
takes:
https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from . import labels
from .pool_spec import GPUNodePoolSpec
from .pool_status import GPUNodePoolStatus
from .spec import MaskTrainingJobSpec, object_rules, pool_object_rules, pool_spec_rules, spec_rules
from .status import MaskTrainingJobStatus

Schema = dict[str, Any]

_DROPPED = ("title", "$defs", "propertyNames")
"""Nothing in a structural schema; bounds on keys of maps are left to the API that receives them."""


def structural_schema(model: type[BaseModel]) -> Schema:
    """The schema of `model` without references, titles, nulls and other words that the API server refuses."""
    schema = model.model_json_schema(by_alias=True)
    return _structural(schema, schema.get("$defs", {}))


def _structural(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _inlined(_without_null(_inlined(schema, definitions)), definitions)
    schema = {key: value for key, value in schema.items() if key not in _DROPPED}
    for rewrite in (_closed_objects, _boolean_bounds, _enumerated_constants, _defaults):
        schema = rewrite(schema)
    return {key: _nested(key, value, definitions) for key, value in schema.items()}


def _nested(key: str, value: Any, definitions: dict[str, Schema]) -> Any:
    if key == "properties":
        return {name: _structural(property_, definitions) for name, property_ in value.items()}
    if key in ("items", "additionalProperties") and isinstance(value, dict):
        return _structural(value, definitions)
    return value


def _inlined(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """The referenced definition with what stands beside the reference (a field's own description) on top."""
    reference = schema.get("$ref")
    if reference is None:
        return schema
    # OpenAPI v3.0 ignores whatever stands beside a $ref, so it has to be put in its place.
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return _inlined(definitions[reference.removeprefix("#/$defs/")], definitions) | beside


def _without_null(schema: Schema) -> Schema:
    """`X | None` is an optional X: absence is how an API says null."""
    options: list[Schema] = schema.get("anyOf", [])
    kept = [option for option in options if option.get("type") != "null"]
    if len(kept) == len(options):
        return schema
    # The API server takes no `anyOf` in which a type is named, int-or-string aside.
    if len(kept) != 1:
        raise ValueError(f"a structural schema cannot hold the union {options}")
    beside = {key: value for key, value in schema.items() if key != "anyOf"}
    if beside.get("default", ...) is None:
        del beside["default"]
    return kept[0] | beside


def _closed_objects(schema: Schema) -> Schema:
    """Unknown fields are pruned or refused by the API server itself (`kubectl --validate=strict`)."""
    if schema.get("additionalProperties") is False:
        return {key: value for key, value in schema.items() if key != "additionalProperties"}
    return schema


def _boolean_bounds(schema: Schema) -> Schema:
    """OpenAPI v3.0 spells `exclusiveMinimum: 0` as `minimum: 0, exclusiveMinimum: true`."""
    rewritten = dict(schema)
    for exclusive, bound in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if exclusive in rewritten:
            rewritten |= {bound: rewritten[exclusive], exclusive: True}
    return rewritten


def _enumerated_constants(schema: Schema) -> Schema:
    if "const" not in schema:
        return schema
    return {key: value for key, value in schema.items() if key != "const"} | {"enum": [schema["const"]]}


def _defaults(schema: Schema) -> Schema:
    """The default of an object is {}, which the API server then fills from the defaults of its fields.

    An empty list or map says no more than absence, and would turn up in every manifest read back.
    """
    default = schema.get("default")
    if isinstance(default, dict) and "properties" in schema:
        return schema | {"default": {}}
    if default in ([], {}):
        return {key: value for key, value in schema.items() if key != "default"}
    return schema


REPOSITORY = Path(__file__).parents[3]
# Twice, because Helm reads no file outside its chart.
FOLDERS = (REPOSITORY / "crds", REPOSITORY / "charts" / "masktrain-operator" / "files")
"""The second one is what the chart's template includes."""
HEADER = "# Generated from operator/masktrain_operator/api by `python -m masktrain_operator.api.crd --write`.\n"

Column = tuple[str, str, str, int]
"""Name, type, JSON path, priority: 0 is always shown, 1 with `-o wide`."""


@dataclass(frozen=True)
class Definition:
    kind: str
    plural: str
    short_name: str
    scope: str
    description: str
    spec: type[BaseModel]
    status: type[BaseModel]
    object_rules: list[dict[str, str]]
    spec_rules: list[dict[str, str]]
    columns: tuple[Column, ...]

    @property
    def file_name(self) -> str:
        return f"{labels.GROUP}_{self.plural}.yaml"


TRAINING_JOB = Definition(
    kind=labels.KIND,
    plural=labels.PLURAL,
    short_name="mtj",
    scope="Namespaced",
    description="One training run of a YOLOv5 detector on GPU nodes.",
    spec=MaskTrainingJobSpec,
    status=MaskTrainingJobStatus,
    object_rules=object_rules(),
    spec_rules=spec_rules(),
    columns=(
        ("State", "string", ".status.state", 0),
        ("Epoch", "integer", ".status.progress.epoch", 0),
        ("mAP50", "string", ".status.progress.mAP50", 0),
        ("Restarts", "integer", ".status.restarts.total", 0),
        ("Cost", "string", ".status.cost.amount", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
        ("Best", "string", ".status.checkpoints.best.uri", 1),
        ("Attempt", "integer", ".status.attempt", 1),
        ("Pool", "string", ".status.nodePool", 1),
    ),
)
NODE_POOL = Definition(
    kind=labels.POOL_KIND,
    plural=labels.POOL_PLURAL,
    short_name="gnp",
    scope="Cluster",
    description="One OKE node pool that the operator may grow for jobs and shrink when its nodes are idle.",
    spec=GPUNodePoolSpec,
    status=GPUNodePoolStatus,
    object_rules=pool_object_rules(),
    spec_rules=pool_spec_rules(),
    columns=(
        ("Shape", "string", ".status.shape", 0),
        ("Size", "integer", ".status.size", 0),
        ("Demand", "integer", ".status.demand", 0),
        ("Max", "integer", ".spec.maxNodes", 0),
        ("Waiting", "integer", ".status.waitingJobs", 0),
        ("Rate", "string", ".status.hourlyRate", 0),
        ("Cost", "string", ".status.cost.amount", 0),
        ("Idle cost", "string", ".status.cost.idleAmount", 0),
        # By type, never by position: the last condition of a list is not the one that changed last.
        ("Capacity", "string", ".status.conditions[?(@.type=='CapacityAvailable')].reason", 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
        ("Node pool", "string", ".spec.nodePoolId", 1),
        ("Idle seconds", "integer", ".spec.idleSeconds", 1),
    ),
)
DEFINITIONS = (TRAINING_JOB, NODE_POOL)


def custom_resource_definition(definition: Definition) -> dict[str, Any]:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{definition.plural}.{labels.GROUP}"},
        "spec": {
            "group": labels.GROUP,
            "scope": definition.scope,
            "names": {
                "kind": definition.kind,
                "listKind": f"{definition.kind}List",
                "plural": definition.plural,
                "singular": definition.kind.lower(),
                "shortNames": [definition.short_name],
                "categories": ["masktrain"],
            },
            "versions": [_version(definition)],
        },
    }


def _version(definition: Definition) -> dict[str, Any]:
    return {
        "name": labels.VERSION,
        "served": True,
        "storage": True,
        # Apart from the spec: the right to edit jobs is not one to forge results, and a status raises no generation.
        "subresources": {"status": {}},
        "additionalPrinterColumns": [
            {"name": name, "type": kind, "jsonPath": path, "priority": priority}
            for name, kind, path, priority in definition.columns
        ],
        "schema": {"openAPIV3Schema": _schema(definition)},
    }


def _schema(definition: Definition) -> Schema:
    spec, status = structural_schema(definition.spec), structural_schema(definition.status)
    return {
        "type": "object",
        "description": definition.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec | {"description": "What is wanted.", "x-kubernetes-validations": definition.spec_rules},
            "status": status | {"description": "What is; written by the operator."},
        },
        "x-kubernetes-validations": definition.object_rules,
    }


def manifest(definition: Definition) -> str:
    """The definition as YAML."""
    document = custom_resource_definition(definition)
    return HEADER + yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True)


def manifests() -> dict[Path, str]:
    """Every generated file and what stands in it."""
    return {folder / d.file_name: manifest(d) for folder in FOLDERS for d in DEFINITIONS}


def main() -> int:
    """Write or check the manifests; 1 if the check finds one that differs."""
    parser = argparse.ArgumentParser(description="The CustomResourceDefinitions of MaskTrain.")
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--write", action="store_true", help="refresh the manifests")
    action.add_argument("--check", action="store_true", help="exit 1 if a manifest is not what the types say")
    return _write() if parser.parse_args().write else _check()


def _write() -> int:
    for path, text in manifests().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return 0


def _check() -> int:
    stale = [
        path for path, text in manifests().items() if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        sys.stderr.write(
            f"{path.relative_to(REPOSITORY)} is stale: run `python -m masktrain_operator.api.crd --write`\n"
        )
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
