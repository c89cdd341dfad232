"""Whether a document would be taken by the model that a JSON schema was made from: as much of it as pydantic writes."""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

Schema = dict[str, Any]

_TYPES: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "integer": int,
    "number": (int, float),
    "null": type(None),
}
_UNREAD = {"$defs", "$ref", "anyOf", "type", "properties", "items", "required", "additionalProperties", "default"}
_BOUNDS: dict[str, Callable[[Any, Any], bool]] = {
    "minimum": lambda value, bound: value >= bound,
    "maximum": lambda value, bound: value <= bound,
    "exclusiveMinimum": lambda value, bound: value > bound,
    "exclusiveMaximum": lambda value, bound: value < bound,
    "multipleOf": lambda value, bound: value % bound == 0,
    "minLength": lambda value, bound: len(value) >= bound,
    "maxLength": lambda value, bound: len(value) <= bound,
    "maxItems": lambda value, bound: len(value) <= bound,
    "format": lambda value, form: form == "date-time" and datetime.fromisoformat(value).tzinfo is not None,
    "pattern": lambda value, pattern: re.search(pattern, value) is not None,
    "enum": lambda value, values: value in values,
}


def complaints(document: Any, schema: Schema, root: Schema | None = None, path: str = "") -> list[str]:
    """Why the model would refuse the document; empty if it would not."""
    root = root or schema
    if "$ref" in schema:
        return complaints(document, root["$defs"][schema["$ref"].rpartition("/")[2]], root, path)
    if "anyOf" in schema:
        found = [complaints(document, option, root, path) for option in schema["anyOf"]]
        return [] if [] in found else [f"{path}: {document!r} is none of the allowed kinds: {found}"]
    unknown = {key for key in schema if not key.startswith("x-")} - _UNREAD - set(_BOUNDS)
    assert not unknown, f"the schema uses {unknown}, which this check does not know"
    kind = schema.get("type")
    if kind and (not isinstance(document, _TYPES[kind]) or (isinstance(document, bool) and kind != "boolean")):
        return [f"{path}: {document!r} is no {kind}"]
    broken = [
        f"{path}: {document!r} breaks {key} {schema[key]!r}"
        for key, holds in _BOUNDS.items()
        if key in schema and not holds(document, schema[key])
    ]
    return broken + _inside(document, schema, root, path)


def _inside(document: Any, schema: Schema, root: Schema, path: str) -> list[str]:
    if isinstance(document, list):
        items = [complaints(item, schema.get("items", {}), root, f"{path}[{n}]") for n, item in enumerate(document)]
        return [text for found in items for text in found]
    if not isinstance(document, dict):
        return []
    fields = schema.get("properties", {})
    missing = [f"{path}.{key} is missing" for key in schema.get("required", []) if key not in document]
    closed = schema.get("additionalProperties") is False
    unknown = [f"{path}.{key} is unknown" for key in document if closed and key not in fields]
    known = [complaints(value, fields[key], root, f"{path}.{key}") for key, value in document.items() if key in fields]
    return missing + unknown + [text for found in known for text in found]
