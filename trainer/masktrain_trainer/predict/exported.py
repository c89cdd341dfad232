"""Detectors as ONNX and OpenVINO files, ours and those that YOLOv5's export.py writes: read, recognised, described.

OpenVINO reads both kinds. What a file says of itself is taken as plain values; what it computes is held to the one
layout that the rest of the program understands: (B, N, 5 + classes), three boxes for each cell of each level.
"""

import ast
import sys
from dataclasses import dataclass
from itertools import accumulate, takewhile
from pathlib import Path
from typing import Any, Final

import yaml

from masktrain_trainer.errors import InvalidConfiguration, UnusableWeights
from masktrain_trainer.model.blocks import ANCHORS_PER_LEVEL, BOX_AND_OBJECTNESS
from masktrain_trainer.weights.yolov5 import class_names

SUFFIXES: Final = frozenset({".onnx", ".xml"})
_MOST_CHARACTERS: Final = 1 << 20
_STRIDES: Final = (32, 64)
_FINEST_STRIDE: Final = 8
_DEFAULT_IMAGE_SIZE: Final = 640
_LARGEST_SIDE: Final = 8192
_WANTED: Final = "give a detector of YOLOv5 that was exported without non-maximum suppression"


def import_openvino() -> Any:
    """The package, which then neither asks nor tells anybody that it is used. Raises InvalidConfiguration without it.

    Both openvino and nncf report to their maker as soon as they are imported, unless this package is missing: for this
    process it is. The switch of their own is a file in the user's home.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]
    try:
        import openvino  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidConfiguration(
            "ONNX and OpenVINO models need openvino; install with: pip install 'masktrain[trainer,export]'."
        ) from None
    return openvino


@dataclass(frozen=True)
class ExportedModel:
    """`document`: OpenVINO's model with one input and the boxes as its one output.

    `batch` and `fixed_shape` (height, width): of the one input that it takes, None for any. `precision` is what most
    of its numbers are.
    """

    name: str
    document: Any
    precision: str
    names: list[str]
    image_size: int
    stride: int
    batch: int | None
    fixed_shape: tuple[int, int] | None


def is_exported(path: Path) -> bool:
    """Whether its name says so; a folder can be nothing else."""
    return path.is_dir() or path.suffix.lower() in SUFFIXES


def read_exported(path: Path) -> ExportedModel:
    """A .onnx, the .xml of OpenVINO with its .bin, or the folder of both. Raises UnusableWeights."""
    file = _model_file(path)
    document = _parsed(file)
    said = _said(document, file)
    batch, shape = _input(document)
    stride = _whole(said.get("stride"), _STRIDES) or _STRIDES[0]
    boxes = _boxes(document)
    classes = _classes(document, boxes, shape, stride)
    return ExportedModel(
        name=file.name if file.suffix.lower() == ".onnx" else file.stem,
        document=_only(document, boxes),
        precision=_precision(document),
        names=_names(said.get("names"), classes),
        image_size=max(shape) if shape else _side(said.get("imgsz")),
        stride=stride,
        batch=batch,
        fixed_shape=shape,
    )


def _model_file(path: Path) -> Path:
    if not path.exists():
        raise FileNotFoundError(path)
    file = path
    if path.is_dir():
        found = sorted(path.glob("*.xml"))
        if len(found) != 1:
            raise UnusableWeights(f"is a folder with {len(found)} models (.xml); give the .xml of one.")
        file = found[0]
    if file.suffix.lower() == ".xml" and not file.with_suffix(".bin").is_file():
        raise UnusableWeights(f"lacks {file.with_suffix('.bin').name} beside it, which holds its weights.")
    return file


def _parsed(file: Path) -> Any:
    kind = "ONNX" if file.suffix.lower() == ".onnx" else "OpenVINO"
    openvino = import_openvino()
    try:
        return openvino.Core().read_model(str(file))
    except RuntimeError:  # the one error of its readers, whose text names lines of their source
        raise UnusableWeights(f"is no {kind} model that OpenVINO reads, or it is damaged; export it again.") from None


def _said(document: Any, file: Path) -> dict[str, Any]:
    """What the file, or the YAML that YOLOv5 puts beside it, says of stride, names and image size."""
    said: dict[str, Any] = {}
    for key in ("stride", "names", "imgsz"):
        if document.has_rt_info(["framework", key]):
            said[key] = _literal(str(document.get_rt_info(["framework", key]).value), key)
    for beside in (file.with_suffix(".yaml"), file.with_name("metadata.yaml")):
        if file.suffix.lower() == ".xml" and beside.is_file():
            return said | _read_yaml(beside)
    return said


def _literal(text: str, key: str) -> Any:
    """A Python literal, as YOLOv5 writes it and evaluates it."""
    if len(text) <= _MOST_CHARACTERS:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            pass
    raise UnusableWeights(f"says of its {key} what is no plain value ({text[:40]!r}); export it again.")


def _read_yaml(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        text = file.read(_MOST_CHARACTERS)
    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnusableWeights(f"has {path.name} beside it, which is not the YAML of an export; export it again.")
    return found


def _whole(value: Any, allowed: tuple[int, ...]) -> int | None:
    return value if type(value) is int and value in allowed else None


def _side(value: Any) -> int:
    sides = value if isinstance(value, list | tuple) else [value]
    known = [side for side in sides if type(side) is int and 0 < side <= _LARGEST_SIDE]
    return max(known, default=_DEFAULT_IMAGE_SIZE)


def _input(document: Any) -> tuple[int | None, tuple[int, int] | None]:
    """The fixed batch, and the fixed height and width."""
    shapes = [port.get_partial_shape() for port in document.inputs]
    if len(shapes) != 1 or shapes[0].rank.is_dynamic or len(shapes[0]) != 4:
        raise UnusableWeights(f"takes something else than pictures; {_WANTED}.")
    sides = [dimension.get_length() if dimension.is_static else None for dimension in shapes[0]]
    batch, channels, height, width = sides
    if channels not in (3, None) or document.inputs[0].get_element_type().get_type_name() not in ("f32", "f16"):
        raise UnusableWeights(f"takes other pictures than (batch, 3, height, width) of floats; {_WANTED}.")
    if height is None or width is None:
        return batch, None
    return batch, (height, width)


def _boxes(document: Any) -> int:
    """Which output has the boxes; YOLOv5 before v7.0 has those of the levels, five-dimensional, beside it."""
    ranks = [
        len(port.get_partial_shape()) if port.get_partial_shape().rank.is_static else 0 for port in document.outputs
    ]
    if 4 in ranks and 3 in ranks:
        raise UnusableWeights(f"is a segmentation model; {_WANTED}.")
    if ranks.count(3) != 1 or set(ranks) - {3, 5}:
        raise UnusableWeights(f"gives no boxes as YOLOv5's detectors do, one output (batch, boxes, values); {_WANTED}.")
    return ranks.index(3)


def _classes(document: Any, boxes: int, shape: tuple[int, int] | None, stride: int) -> int:
    """How many it knows, by what it gives for a picture that it takes."""
    height, width = shape or (stride, 2 * stride)
    probe = document.clone()
    try:
        if shape is None:
            probe.reshape({0: [1, 3, height, width]})
        rows, values = (dimension.get_length() for dimension in list(probe.outputs[boxes].get_partial_shape())[1:])
    except (RuntimeError, ValueError):
        raise UnusableWeights(f"does not say how many boxes it gives for a picture; {_WANTED}.") from None
    strides = takewhile(lambda step: step <= stride, accumulate([_FINEST_STRIDE] * 4, lambda step, _: 2 * step))
    cells = sum((height // step) * (width // step) for step in strides)
    if values == cells and rows > 4:
        raise UnusableWeights(f"is of YOLOv8's kind, without objectness; {_WANTED}.")
    if rows != ANCHORS_PER_LEVEL * cells or values <= BOX_AND_OBJECTNESS:
        raise UnusableWeights(
            f"gives {rows} x {values} numbers for {height} x {width} px, as no YOLOv5 does; {_WANTED}."
        )
    return int(values - BOX_AND_OBJECTNESS)


def _names(said: Any, classes: int) -> list[str]:
    if said is None:
        return [f"class{index}" for index in range(classes)]
    if isinstance(said, dict) and set(said) == set(range(len(said))):
        said = [said[index] for index in range(len(said))]
    names = class_names(said)
    if len(names) != classes:
        raise UnusableWeights(f"names {len(names)} classes, but its model has {classes}; correct the model's names.")
    return names


def _only(document: Any, boxes: int) -> Any:
    """Without the other outputs, which would be copied for nobody."""
    openvino = import_openvino()
    return openvino.Model([document.outputs[boxes]], document.get_parameters(), "detector")


def _precision(document: Any) -> str:
    kinds = {(node.get_type_name(), node.get_output_element_type(0).get_type_name()) for node in document.get_ops()}
    if any(kind == "FakeQuantize" for kind, _ in kinds):
        return "INT8"
    return "FP16" if ("Constant", "f16") in kinds else "FP32"
