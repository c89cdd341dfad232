"""A best.pt as a file of YOLOv5, for its detect.py, val.py and export.py.

YOLOv5's files are pickles of whole modules: they name its classes and carry the attributes that its code reads. Here
empty classes of those names stand in while the file is pickled; none of its code is needed or contained.

Tests prove that the weights' reader gets equal tensors back, and that `torch.load` with empty classes of YOLOv5's names
rebuilds a module tree with an equal state dict. They do not run YOLOv5's own code, whose licence keeps it out of this
project.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

import torch
from torch import nn

from masktrain_trainer.files import finished_whole
from masktrain_trainer.model import blocks, graph
from masktrain_trainer.model.graph import SIZES, Graph, Size
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.predict.predictor import load_yolo
from masktrain_trainer.weights.yolov5 import DetectorWeights

_MODEL: Final = "models.yolo.DetectionModel"
_CLASS_PATHS: Final = MappingProxyType(
    {
        blocks.Conv: "models.common.Conv",
        blocks.Bottleneck: "models.common.Bottleneck",
        blocks.C3: "models.common.C3",
        blocks.SPPF: "models.common.SPPF",
        blocks.Concat: "models.common.Concat",
        blocks.Detect: "models.yolo.Detect",
    }
)
"""Where YOLOv5 keeps what we call the same."""
_PREVIOUS: Final = -1
"""How YOLOv5 writes the layer before."""


def write_yolov5(file: DetectorWeights, path: Path) -> None:
    """Write `file` as YOLOv5 v7.0 leaves a finished best.pt: float16, without optimizer. Replaces `path` as a whole."""
    document = {
        # How v7.0 marks a training that is over.
        "epoch": -1,
        "model": detection_model(file),
        "date": datetime.now(UTC).isoformat(),
        **dict.fromkeys(("best_fitness", "ema", "updates", "optimizer", "opt", "git")),
    }
    with finished_whole(path) as unfinished, _importable():
        torch.save(document, unfinished)


def detection_model(file: DetectorWeights) -> nn.Module:
    """The module tree of YOLOv5 with the file's weights, in float16 and evaluation mode."""
    source, size = load_yolo(file), SIZES[file.architecture]
    names = dict(enumerate(file.names))
    stride = torch.tensor([float(stride) for stride in source.strides])
    layers = [_numbered(_layer(module), index, size.graph) for index, module in enumerate(source.model)]
    _set(layers[-1], **_head_attributes(source, stride))
    root = _stand_in(_MODEL)
    root.add_module("model", nn.Sequential(*layers))
    _set(root, names=names, nc=len(names), stride=stride, save=_saved_layers(size.graph), inplace=True)
    _set(root, yaml=_yaml(source, size), yaml_file=f"{file.architecture.value}.yaml")
    return root.half().eval().requires_grad_(False)


def _named_class(path: str) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    return type(name, (nn.Module,), {"__module__": module, "__qualname__": name})


# Made once, because pickle insists that a class's name leads to the very same class.
_STAND_INS: Final = MappingProxyType({path: _named_class(path) for path in (_MODEL, *_CLASS_PATHS.values())})


def _stand_in(path: str) -> nn.Module:
    return _STAND_INS[path]()


@contextmanager
def _importable() -> Iterator[None]:
    """Pickling looks classes up by name; afterwards `sys.modules` is as it was."""
    modules = {name: ModuleType(name) for name in ("models", "models.common", "models.yolo")}
    for found in _STAND_INS.values():
        setattr(modules[found.__module__], found.__name__, found)
    # `models` may be a package of the caller's, who must find it again.
    before = {name: sys.modules.get(name) for name in modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in before.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module


def _layer(source: nn.Module) -> nn.Module:
    """A block of ours with YOLOv5's class and attributes. PyTorch's own modules are taken as they are."""
    if isinstance(source, nn.Sequential):
        return nn.Sequential(*map(_layer, source))
    if type(source) not in _CLASS_PATHS:
        return source
    target = _stand_in(_CLASS_PATHS[type(source)])
    for name, buffer in source.named_buffers(recurse=False):
        target.register_buffer(name, buffer)
    for name, child in source.named_children():
        target.add_module(name, _layer(child))
    match source:
        case blocks.Conv():
            # Ours call a function for it, since it has no tensors; v7.0's forward asks for a module.
            target.add_module("act", nn.SiLU(inplace=True))
        case blocks.Bottleneck():
            _set(target, add=source.shortcut)
        case blocks.Concat():
            _set(target, d=1)
    return target


def _numbered(layer: nn.Module, index: int, layers: Graph) -> nn.Module:
    """What YOLOv5 notes on each layer: its number, the layers it reads, its class and its number of parameters."""
    parameters = sum(parameter.numel() for parameter in layer.parameters())
    path = f"{type(layer).__module__}.{type(layer).__qualname__}"
    return _set(layer, i=index, f=_reads(index, layers), type=path, np=parameters)


def _reads(index: int, layers: Graph) -> int | list[int]:
    if index == len(layers.layers):
        return list(layers.detect_sources)
    layer = layers.layers[index]
    return [_PREVIOUS, layer.other] if isinstance(layer, graph.Concat) else _PREVIOUS


def _saved_layers(layers: Graph) -> list[int]:
    """Layers whose output is read again later."""
    concatenated = {layer.other for layer in layers.layers if isinstance(layer, graph.Concat)}
    return sorted(concatenated | set(layers.detect_sources))


def _head_attributes(source: Yolo, stride: torch.Tensor) -> dict[str, Any]:
    """The empty grids are filled by YOLOv5 at the first picture."""
    levels, anchors, _ = source.anchors.shape
    return {
        "nc": source.num_classes,
        "no": source.num_classes + blocks.BOX_AND_OBJECTNESS,
        "nl": levels,
        "na": anchors,
        "stride": stride,
        "grid": [torch.empty(0) for _ in range(levels)],
        "anchor_grid": [torch.empty(0) for _ in range(levels)],
        "inplace": True,
    }


def _yaml(source: Yolo, size: Size) -> dict[str, Any]:
    """The model as YOLOv5's model files describe it, with the anchors (pixels) that the model has."""
    rows = [_yaml_row(layer) for layer in size.graph.layers]
    backbone = next(i for i, layer in enumerate(size.graph.layers) if isinstance(layer, graph.Sppf)) + 1
    stride_L11 = torch.tensor(size.graph.strides).view(-1, 1, 1)
    return {
        "nc": source.num_classes,
        "depth_multiple": size.depth,
        "width_multiple": size.width,
        "anchors": (source.anchors * stride_L11).flatten(1).tolist(),
        "backbone": rows[:backbone],
        "head": [*rows[backbone:], [list(size.graph.detect_sources), 1, "Detect", ["nc", "anchors"]]],
        "ch": 3,
    }


def _yaml_row(layer: graph.Layer) -> list[Any]:
    """[reads, repeats, module, arguments]"""
    match layer:
        case graph.Conv(channels, kernel, stride, padding):
            return [_PREVIOUS, 1, "Conv", [channels, kernel, stride, *([] if padding is None else [padding])]]
        case graph.C3(channels, repeats, shortcut):
            return [_PREVIOUS, repeats, "C3", [channels, *([] if shortcut else [False])]]
        case graph.Sppf(channels, kernel):
            return [_PREVIOUS, 1, "SPPF", [channels, kernel]]
        case graph.Upsample(factor):
            return [_PREVIOUS, 1, "nn.Upsample", [None, factor, "nearest"]]
        case graph.Concat(other):
            return [[_PREVIOUS, other], 1, "Concat", [1]]


def _set(module: nn.Module, **attributes: Any) -> nn.Module:
    for name, value in attributes.items():
        setattr(module, name, value)
    return module
