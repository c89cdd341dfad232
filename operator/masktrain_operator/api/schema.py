"""From pydantic's JSON schema to the structural OpenAPI v3 schema that a CustomResourceDefinition takes.

https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
"""

from typing import Any

from pydantic import BaseModel

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
    beside = {key: value for key, value in schema.items() if key != "$ref"}
    return _inlined(definitions[reference.removeprefix("#/$defs/")], definitions) | beside


def _without_null(schema: Schema) -> Schema:
    """`X | None` is an optional X: absence is how an API says null."""
    options: list[Schema] = schema.get("anyOf", [])
    kept = [option for option in options if option.get("type") != "null"]
    if len(kept) == len(options):
        return schema
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
