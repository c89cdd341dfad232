"""The CustomResourceDefinition is what the types say, and says it in words that the API server takes."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from pydantic import Field

from masktrain_operator.api.crd import (
    DEFINITIONS,
    Definition,
    Schema,
    custom_resource_definition,
    manifest,
    manifests,
    structural_schema,
)
from masktrain_trainer.config import Contract

FORBIDDEN = {"$ref", "$defs", "title", "const", "propertyNames", "allOf", "oneOf"}


def fields(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every property below `schema` with its path."""
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child
        yield from fields(child, f"{path}.{name}")
    for inner in ("items", "additionalProperties"):
        if inner in schema:
            yield f"{path}[]", schema[inner]
            yield from fields(schema[inner], f"{path}[]")


def schema_of(definition: Definition) -> Schema:
    schema: Schema = custom_resource_definition(definition)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


FIELDS = {f"{d.kind}{path}": schema for d in DEFINITIONS for path, schema in fields(schema_of(d))}
SPEC_FIELDS = {path: schema for path, schema in FIELDS.items() if ".spec" in path}


@pytest.mark.parametrize("path", manifests(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_the_manifests_in_the_repository_are_up_to_date(path: Any) -> None:
    assert path.read_text(encoding="utf-8") == manifests()[path], "run `make generate`"


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda definition: definition.kind)
def test_the_manifest_is_plain_yaml(definition: Definition) -> None:
    assert yaml.safe_load(manifest(definition)) == custom_resource_definition(definition)


def test_the_schema_is_structural() -> None:
    for path, schema in FIELDS.items():
        assert not FORBIDDEN & schema.keys(), path
        assert "type" in schema or schema.get("x-kubernetes-int-or-string"), path
        assert "anyOf" not in schema or schema["x-kubernetes-int-or-string"], path
        assert not isinstance(schema.get("exclusiveMinimum", True), float), path


def test_every_field_is_described() -> None:
    names = [path for path in FIELDS if not path.endswith("[]") and path.count(".") > 1]
    assert [path for path in names if not FIELDS[path].get("description")] == []


def test_everything_a_user_writes_is_bounded() -> None:
    """Also what the API server needs to bound the cost of the CEL rules."""
    bounds = {
        "string": ("maxLength", "enum", "pattern"),
        "integer": ("maximum",),
        "number": ("maximum",),
        "array": ("maxItems",),
    }
    for path, schema in SPEC_FIELDS.items():
        if schema.get("type") in bounds:
            assert any(bound in schema for bound in bounds[schema["type"]]), path


@pytest.mark.parametrize(
    ("path", "default"),
    [
        ("MaskTrainingJob.spec.model.architecture", "yolov5s"),
        ("MaskTrainingJob.spec.training", {}),
        ("MaskTrainingJob.spec.training.hyperparameters", {}),
        ("MaskTrainingJob.spec.training.preset", "Low"),
        ("MaskTrainingJob.spec.training.autoAnchor", True),
        ("MaskTrainingJob.spec.compute.sharedMemory", "2Gi"),
        ("MaskTrainingJob.spec.compute.nodes", 1),
        ("MaskTrainingJob.spec.limits.maxRestartsWithoutProgress", 3),
    ],
)
def test_defaults_are_those_of_the_types(path: str, default: object) -> None:
    assert FIELDS[path]["default"] == default


def test_an_unset_hyperparameter_stays_unset_so_that_the_preset_speaks() -> None:
    """A default in the schema would be stored, and would look like the user's own word."""
    hyperparameters = FIELDS["MaskTrainingJob.spec.training.hyperparameters"]
    assert [name for name, schema in hyperparameters["properties"].items() if "default" in schema] == []
    assert "0.00334 in VOC" in hyperparameters["properties"]["learningRate"]["description"]


def test_what_came_after_the_first_version_is_not_filled_in() -> None:
    """An earlier operator, after a roll-back, refuses a key that it does not know; no later section has a default."""
    later = ("MaskTrainingJob.spec.export", "MaskTrainingJob.spec.evaluation")
    below = [path for path in FIELDS if path.startswith(later)]
    assert len(below) > len(later)
    assert [path for path in below if "default" in FIELDS[path]] == []


def test_no_default_is_null() -> None:
    assert [path for path, schema in FIELDS.items() if schema.get("default", "") is None] == []


class Example(Contract):
    """A class's own words."""

    optional: int | None = Field(default=None, gt=0, lt=10)
    names: list[str] = Field(default=[])


class Outer(Contract):
    example: Example | None = Field(default=None, description="The field's words win.")


def test_optional_objects_are_inlined_with_the_fields_own_words() -> None:
    example = structural_schema(Outer)["properties"]["example"]
    assert example["type"] == "object"
    assert example["description"] == "The field's words win."
    assert "default" not in example


def test_exclusive_bounds_are_spelled_as_openapi_3_0_does() -> None:
    optional = structural_schema(Example)["properties"]["optional"]
    assert optional == {
        "type": "integer",
        "minimum": 0,
        "exclusiveMinimum": True,
        "maximum": 10,
        "exclusiveMaximum": True,
    }


def test_unions_of_types_are_refused() -> None:
    class Either(Contract):
        value: int | str | None = None

    with pytest.raises(ValueError, match="union"):
        structural_schema(Either)
