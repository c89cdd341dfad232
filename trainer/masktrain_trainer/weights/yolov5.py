"""A YOLOv5 detector as its file describes it, whoever wrote the file.

From a checkpoint of YOLOv5, read as stand-ins, to named tensors, and from their shapes to one of the ten sizes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from masktrain_trainer.config import LONGEST_CLASS_NAME, MOST_CLASSES, Architecture
from masktrain_trainer.errors import UnusableWeights, printable
from masktrain_trainer.model.graph import SIZES, Size
from masktrain_trainer.model.yolo import build_yolo

from .other_kinds import WANTED, layers_objection, refuse_other_families, state_dict_objection
from .pickle_machine import StandIn

# Older versions call it Model.
_DETECTORS: Final = ("models.yolo.Model", "models.yolo.DetectionModel")
_PYPI_PACKAGE: Final = "yolov5."
_SEGMENTATION: Final = "models.yolo.SegmentationModel"
_WRAPPERS: Final = {
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AutoShape": "model",
    "DetectMultiBackend": "model",
    "ModelEMA": "ema",
}
"""What training on several GPUs, torch.hub and averaging put around a model, and where they keep it."""
_ACTIVATION: Final = "SiLU"
_IMAGE_SIZES: Final = range(32, 8192 + 1)
_MOST_MODULES: Final = 20_000
"""yolov5x6 has 800; a graph in which every module has the next one twice has 2 to the power of its depth."""
_DEEPEST: Final = 32
MOST_TENSORS: Final = 20_000
"""yolov5x6 has 1,000; a module with many of them may be contained many times."""
_MOST_STRIDES: Final = 16
_FIRST, _FIRST_CHANNELS = "model.0.conv.weight", 64
_NOT_STORED: Final = ("anchor_grid", "stride")
"""Buffers of the head in some versions before v7.0; both follow from the anchors."""


@dataclass(frozen=True)
class DetectorWeights:
    """Tensors by YOLOv5's names; `names` are those of the classes that they know.

    image_size: side in pixels that it was trained for, as far as the file says; else what its architecture is made for.
    """

    architecture: Architecture
    names: list[str]
    image_size: int
    state_dict: dict[str, Tensor]


@dataclass(frozen=True)
class YoloV5Checkpoint:
    """`averaged`: the file's EMA was taken. `epoch` counts from 0; None in a finished (stripped) file."""

    weights: DetectorWeights
    strides: list[float]
    anchors_LA2: Tensor
    epoch: int | None
    averaged: bool


def read_yolov5(document: Any) -> YoloV5Checkpoint:
    """The detector in what `read_torch_file` gave. Raises UnusableWeights for everything else."""
    root, averaged = _find_model(document)
    _refuse_other_roots(root)
    walk = _Walk()
    state_dict = dict(walk.tensors(root))
    refuse_other_families(walk.layers)
    if _original_name(root) == _SEGMENTATION:
        raise UnusableWeights("is a YOLOv5 segmentation model; only detectors are taken: give one without -seg.")
    names = _class_names(root)
    # A convolution gets a bias only when its batch norm is folded into it.
    if "model.0.conv.bias" in state_dict:
        raise UnusableWeights("was fused for inference; give the .pt as training wrote it.")
    _refuse_other_activations(walk.activations)
    if (architecture := recognise(state_dict, len(names))) is None:
        _refuse_other_numbers(root, state_dict, names)
        raise UnusableWeights(layers_objection(walk.layers))
    anchors = next(tensor for name, tensor in state_dict.items() if name.endswith(".anchors"))
    image_size = _image_size(document) or architecture.native_image_size
    weights = DetectorWeights(architecture, names, image_size, _floats(state_dict))
    return YoloV5Checkpoint(weights, _strides(root), anchors, _epoch(document), averaged)


def _find_model(document: Any) -> tuple[StandIn, bool]:
    """The averaged model if there is one: it is what YOLOv5 validates and detects with."""
    if isinstance(document, StandIn):
        return _unwrapped(document), False
    if not isinstance(document, dict):
        raise UnusableWeights(f"holds a {type(document).__name__} and no model; {WANTED}.")
    # YOLOv5 validates with the average, and leaves `ema` empty in a finished file.
    for name in ("ema", "model"):
        if isinstance(found := document.get(name), StandIn):
            return _unwrapped(found), name == "ema"
    for found in (*document.values(), document):
        if tensors := _names_of_tensors(found):
            raise UnusableWeights(state_dict_objection(tensors))
    raise UnusableWeights(f"holds no model; {WANTED}.")


def _names_of_tensors(found: Any) -> list[str]:
    return [str(name) for name, value in _dictionary(found).items() if isinstance(value, Tensor)]


def _unwrapped(root: StandIn) -> StandIn:
    """Without what was put around the model."""
    for _ in range(_DEEPEST):
        name = _WRAPPERS.get(root.type.name)
        inner = None if name is None else _children(root).get(name, root.attribute(name))
        if not isinstance(inner, StandIn):
            break
        root = inner
    return root


def _original_name(root: StandIn) -> str:
    return str(root.type).removeprefix(_PYPI_PACKAGE)


def _refuse_other_roots(root: StandIn) -> None:
    if _original_name(root) not in (*_DETECTORS, _SEGMENTATION):
        raise UnusableWeights(f"holds a {root.type}, which is no YOLOv5 detector; {WANTED}.")


def _refuse_other_numbers(root: StandIn, state_dict: Mapping[str, Tensor], names: list[str]) -> None:
    """A model of ours but for the number of its names."""
    classes = root.attribute("nc")
    if type(classes) is int and 0 < classes <= MOST_CLASSES and recognise(state_dict, classes) is not None:
        raise UnusableWeights(
            f"names {len(names):,} classes, but its model has {classes:,}; correct the model's names."
        )


def _refuse_other_activations(found: set[str]) -> None:
    """They have no tensors, so a model with another one looks the same by its weights."""
    if others := found - {_ACTIVATION}:
        raise UnusableWeights(
            f"computes with {', '.join(sorted(others))} where YOLOv5's ten models have {_ACTIVATION}."
        )


class _Walk:
    """Over modules, as many times as each is contained."""

    def __init__(self) -> None:
        self._seen = 0
        self._tensors = 0
        self.activations: set[str] = set()
        """Names of their classes."""
        self.layers: set[str] = set()
        """Names of the classes of all modules but the model itself and torch's own."""

    def tensors(self, module: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
        """Parameters and buffers with their names in a state dict."""
        self._seen += 1
        if self._seen > _MOST_MODULES or depth > _DEEPEST:
            raise UnusableWeights("has more modules, or deeper ones, than any model of YOLOv5.")
        if depth > 0 and not module.type.module.startswith("torch."):
            self.layers.add(module.type.name)
        for name, tensor in _own_tensors(module):
            self._tensors += 1
            if self._tensors > MOST_TENSORS:
                raise UnusableWeights("has more tensors than any model of YOLOv5.")
            yield f"{prefix}{name}", tensor
        for name, child in _children(module).items():
            if isinstance(child, StandIn):
                if name == "act":
                    self.activations.add(child.type.name)
                yield from self.tensors(child, f"{prefix}{name}.", depth + 1)


def _own_tensors(module: StandIn) -> Iterator[tuple[str, Tensor]]:
    unsaved = module.attribute("_non_persistent_buffers_set")
    left_out = {*(unsaved if isinstance(unsaved, set) else ()), *_NOT_STORED}
    for group in ("_parameters", "_buffers"):
        for name, tensor in (_dictionary(module.attribute(group))).items():
            if isinstance(tensor, Tensor) and name not in left_out:
                yield name, tensor


def _children(module: Any) -> dict[Any, Any]:
    return _dictionary(module.attribute("_modules")) if isinstance(module, StandIn) else {}


def _dictionary(found: Any) -> dict[Any, Any]:
    return found if isinstance(found, dict) else {}


def _floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """In float32, each with memory of its own."""
    return {
        name: tensor.float().clone() if tensor.is_floating_point() else tensor.clone()
        for name, tensor in tensors.items()
    }


def _class_names(root: StandIn) -> list[str]:
    """A list before v7.0, then a dictionary by number."""
    found = root.attribute("names")
    if isinstance(found, dict) and found.keys() == set(range(len(found))):
        found = [found[number] for number in range(len(found))]
    return class_names(found)


_NAME: Final = (str, int, float, type(None))


def class_names(found: Any) -> list[str]:
    """What a file gives as the names of its classes, if they are some. Raises UnusableWeights.

    They are as YOLOv5 had them of a data.yaml: with numbers among them, or yes, no and nothing, which it shows as text.
    """
    if not isinstance(found, list | tuple) or not found or not all(isinstance(name, _NAME) for name in found):
        raise UnusableWeights(f"does not say the names of its classes, as a list or by number; {WANTED}.")
    if len(found) > MOST_CLASSES:
        raise UnusableWeights(f"has {len(found):,} classes; more than {MOST_CLASSES:,} are not taken.")
    return [_class_name(name) for name in found]


def _class_name(name: Any) -> str:
    # Python writes no whole number of thousands of digits.
    too_long = (
        len(name) > LONGEST_CLASS_NAME
        if isinstance(name, str)
        else isinstance(name, int) and abs(name) >= 10**LONGEST_CLASS_NAME
    )
    if too_long:
        raise UnusableWeights(f"has a class whose name is longer than {LONGEST_CLASS_NAME} characters.")
    return printable(str(name))


def _strides(root: StandIn) -> list[float]:
    stride = root.attribute("stride")
    if isinstance(stride, Tensor) and stride.numel() > _MOST_STRIDES:
        raise UnusableWeights("has more strides than any model of YOLOv5.")
    return [float(value) for value in stride.flatten()] if isinstance(stride, Tensor) else []


def _image_size(document: Any) -> int | None:
    """Of the options that train.py was called with; the release's files have none."""
    options = document.get("opt") if isinstance(document, dict) else None
    size = options.attribute("imgsz") if isinstance(options, StandIn) else _dictionary(options).get("imgsz")
    return size if type(size) is int and size in _IMAGE_SIZES else None


def _epoch(document: Any) -> int | None:
    epoch = document.get("epoch") if isinstance(document, dict) else None
    return epoch if type(epoch) is int and epoch >= 0 else None


def recognise(state_dict: Mapping[str, Tensor], classes: int) -> Architecture | None:
    """The size that has exactly these names and shapes; None if none has."""
    shapes = {name: tensor.shape for name, tensor in state_dict.items()}
    for architecture, size in SIZES.items():
        if _may_be(shapes, size) and _shapes(architecture, classes) == shapes:
            return architecture
    return None


def _may_be(shapes: dict[str, torch.Size], size: Size) -> bool:
    """Two names decide so far that only one model has to be built for comparison."""
    first = shapes.get(_FIRST)
    anchors = f"model.{len(size.graph.layers)}.anchors"
    return first is not None and first[:1] == (size.channels(_FIRST_CHANNELS),) and anchors in shapes


def _shapes(architecture: Architecture, classes: int) -> dict[str, torch.Size]:
    # Shapes only: no memory is taken, and nothing is initialised.
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build_yolo(architecture, classes).state_dict().items()}
