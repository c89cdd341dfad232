"""From pydantic's list of errors to sentences for the person who wrote the document.

Most mistakes are a name: misspelt, in the wrong section, or the one that YOLOv5 uses for the same thing.
"""

import difflib
from collections.abc import Iterator, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from .addresses import shown_text

YOLOV5_NAMES = {
    "lr0": "learningRate",
    "lrf": "finalLearningRateFraction",
    "warmup_bias_lr": "warmupBiasLearningRate",
    "nbs": "nominalBatchSize",
    "box": "boxGain",
    "cls": "classGain",
    "cls_pw": "classPositiveWeight",
    "obj": "objectnessGain",
    "obj_pw": "objectnessPositiveWeight",
    "anchor_t": "anchorThreshold",
    "fl_gamma": "focalGamma",
    "hsv_h": "hsvHue",
    "hsv_s": "hsvSaturation",
    "hsv_v": "hsvValue",
    "flipud": "flipVertical",
    "fliplr": "flipHorizontal",
    "imgsz": "imageSize",
    "img": "imageSize",
    "batch": "batchSize",
    "cfg": "architecture",
    "cos_lr": "schedule",
    "hyp": "preset",
    "single_cls": "singleClass",
    "sync_bn": "syncBatchNorm",
    "noautoanchor": "autoAnchor",
}
"""What YOLOv5's files and flags call it, and what it is called here. A dash in a flag is an underscore here."""


def first_problem(error: ValidationError) -> str:
    """Where and what, in one line, of the first thing that is wrong; the value stays out of it, it may be a secret."""
    first, *more = error.errors(include_url=False, include_input=False)
    others = f" (and {len(more)} more)" if more else ""
    return f"{_path(first['loc']) or 'the document'}: {_reason(first)}{others}"


def explain(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """One sentence per error of validating a document as `model`: where, what, and the nearest name that is known."""
    return [_sentence(details, model) for details in error.errors(include_url=False)]


def _sentence(details: ErrorDetails, model: type[BaseModel]) -> str:
    where = details["loc"]
    if details["type"] == "extra_forbidden":
        return _unknown(where, model)
    if details["type"] == "missing":
        return f"{_path(where)} is missing{_meaning(where, model)}."
    value = details["input"]
    # Also what is no link yet, such as Roboflow's line for curl, has its key in it.
    shown = shown_text(value) if isinstance(value, str) else value
    given = f", not {shown!r}" if isinstance(shown, (str, int, float)) else ""
    return f"{_path(where)}: {_reason(details)}{given}{_nearest_choice(details)}{_next_multiple(details)}."


def _reason(details: ErrorDetails) -> str:
    reason = details["msg"].removeprefix("Value error, ")
    return f"{reason[:1].lower()}{reason[1:]}"


def _unknown(where: Sequence[int | str], model: type[BaseModel]) -> str:
    *parents, name = where
    found = f"{_path(parents) or 'The document'} has no field {name!r}"
    if suggestion := _nearest_field(parents, str(name), model):
        return f"{found}; did you mean {suggestion}?"
    known = ", ".join(_fields(_model_at(parents, model) or model))
    return f"{found}; it has {known}."


def _nearest_field(parents: Sequence[int | str], name: str, model: type[BaseModel]) -> str | None:
    """The same section's nearest name; else, in another section, exactly this name or the one YOLOv5's stands for."""
    here = _model_at(parents, model)
    siblings = _fields(here) if here else {}
    wanted = YOLOV5_NAMES.get(name.replace("-", "_"), name)
    if wanted in siblings:
        return _path([*parents, wanted])
    if elsewhere := next((path for path in _paths(model) if path[-1] == wanted), None):
        return _path(elsewhere)
    lowered = {sibling.lower(): sibling for sibling in siblings}
    near = difflib.get_close_matches(wanted.replace("_", "").replace("-", "").lower(), lowered, n=1)
    return _path([*parents, lowered[near[0]]]) if near else None


def _nearest_choice(details: ErrorDetails) -> str:
    """The nearest of an enumeration's values, which pydantic lists in quotes."""
    expected = str(details.get("ctx", {}).get("expected", ""))
    choices = {part.lower(): part for part in expected.split("'")[1::2]}
    near = difflib.get_close_matches(str(details["input"]).lower(), choices, n=1)
    return f"; the nearest is {choices[near[0]]!r}" if near else ""


def _next_multiple(details: ErrorDetails) -> str:
    """YOLOv5 takes it without asking; here the person decides, because it costs memory."""
    step, value = details.get("ctx", {}).get("multiple_of"), details["input"]
    return f"; the next one is {-(-value // step) * step}" if step and isinstance(value, int) else ""


def _meaning(where: Sequence[int | str], model: type[BaseModel]) -> str:
    parent = _model_at(where[:-1], model)
    field = next((f for alias, f in _fields(parent).items() if alias == where[-1]), None) if parent else None
    description = field.description.rstrip(".") if field is not None and field.description else ""
    return f" ({description})" if description else ""


def _path(where: Sequence[int | str]) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in where).lstrip(".")


def _paths(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every field below `model`; lists are left out, since a name has no one place there."""
    for alias, field in _fields(model).items():
        yield (*above, alias)
        inner = _model_of(field.annotation)
        if inner is not None and not _is_list(field.annotation):
            yield from _paths(inner, (*above, alias))


def _model_at(where: Sequence[int | str], model: type[BaseModel]) -> type[BaseModel] | None:
    """The model that the part of a document at `where` is validated as, if it is one."""
    found: type[BaseModel] | None = model
    for part in where:
        if found is None or isinstance(part, int):
            continue
        field = _fields(found).get(part)
        found = _model_of(field.annotation) if field else None
    return found


def _fields(model: type[BaseModel]) -> dict[str, Any]:
    return {field.alias or name: field for name, field in model.model_fields.items()}


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """The model inside X, X | None, list[X] or Annotated[X, ...]."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_of(inner))), None)


def _is_list(annotation: Any) -> bool:
    return getattr(annotation, "__origin__", None) is list
