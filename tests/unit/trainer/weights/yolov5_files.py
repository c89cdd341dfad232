"""Files as YOLOv5 writes them, made without its code: modules of its names exist only while they are pickled."""

import contextlib
import sys
import types
from argparse import Namespace
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.model import blocks
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import Yolo, build_yolo

_FOREIGN = ("models", "utils", "yolov5", "ultralytics", "other")
NAMES = ["mask", "incorrect", "no mask"]


def class_named(path: str, base: type[nn.Module] = nn.Module) -> type[nn.Module]:
    module, _, name = path.rpartition(".")
    return type(name, (base,), {"__module__": module, "__qualname__": name})


def layer(source: nn.Module, path: str | None = None) -> nn.Module:
    """One of our modules with the original's class name, children and tensors."""
    if path is None:
        path = _path(source)
    target = source if path is None else class_named(path)()
    if path is not None:
        for name, parameter in source.named_parameters(recurse=False):
            target.register_parameter(name, parameter)
        for name, buffer in source.named_buffers(recurse=False):
            target.register_buffer(name, buffer)
    for name, child in source.named_children():
        target.add_module(name, layer(child))
    if isinstance(source, blocks.Conv):
        target.add_module("act", nn.SiLU())
    return target


def _path(source: nn.Module) -> str | None:
    if isinstance(source, Detect):
        return "models.yolo.Detect"
    if type(source).__module__ == blocks.__name__:
        return f"models.common.{type(source).__name__}"
    return None


def model(source: Yolo, path: str = "models.yolo.DetectionModel", names: Any = None) -> Any:
    """The original has a Sequential where ours has a ModuleList."""
    root: Any = class_named(path)()
    root.model = nn.Sequential(*map(layer, source.model))
    root.names = dict(enumerate(NAMES)) if names is None else names
    root.nc = len(root.names)
    root.stride = torch.tensor([8.0, 16.0, 32.0])
    root.save = [4, 6, 10]
    root.yaml = {"nc": root.nc, "backbone": [[-1, 1, "Conv", [64, 6, 2, 2]]], "file": Path("models/yolov5n.yaml")}
    return root


def source(seed: int = 0, classes: int = 3) -> Yolo:
    torch.manual_seed(seed)
    return build_yolo(Architecture.YOLOV5N, classes)


def stripped(root: nn.Module) -> dict[str, Any]:
    nothing = dict.fromkeys(("best_fitness", "ema", "updates", "optimizer", "opt", "git"))
    return {"epoch": -1, "model": root, "date": datetime(2022, 11, 22).isoformat(), **nothing}


def unstripped(root: nn.Module, ema: nn.Module) -> dict[str, Any]:
    """As last.pt is in the middle of a training."""
    return {
        "epoch": 41,
        "best_fitness": np.array([0.4]),
        "map50": np.float64(0.5),
        "model": root,
        "ema": ema,
        "updates": 1000,
        "optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.01, "params": [0]}]},
        "opt": Namespace(weights=Path("yolov5n.pt"), epochs=300),
        "git": {"branch": None},
        "date": datetime(2022, 11, 22),
    }


def as_released(path: Path) -> Path:
    """A file in the layout of the v7.0 release: yolov5n with COCO's number of classes, stripped, in half precision."""
    names = [f"class {number}" for number in range(80)]
    return save(stripped(model(source(classes=len(names)), names=names).half()), path)


def save(document: Any, path: Path, **options: Any) -> Path:
    with _importable(document):
        torch.save(document, path, **options)
    return path


@contextlib.contextmanager
def _importable(document: Any) -> Iterator[None]:
    """Pickling looks classes up by name."""
    before = dict(sys.modules)
    try:
        for found in _classes(document):
            parts = found.__module__.split(".")
            for end in range(1, len(parts) + 1):
                name = ".".join(parts[:end])
                sys.modules.setdefault(name, types.ModuleType(name))
            setattr(sys.modules[found.__module__], found.__name__, found)
            _share(found, document)
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in _FOREIGN:
                del sys.modules[name]


def _modules(document: Any) -> Iterator[nn.Module]:
    values = document.values() if isinstance(document, dict) else [document]
    for value in values:
        if isinstance(value, nn.Module):
            yield from value.modules()


def _classes(document: Any) -> set[type[nn.Module]]:
    return {type(module) for module in _modules(document) if type(module).__module__.partition(".")[0] in _FOREIGN}


def _share(found: type[nn.Module], document: Any) -> None:
    """Every layer was given a class of its own; pickle wants the one that its name leads to."""
    for module in _modules(document):
        if (type(module).__module__, type(module).__name__) == (found.__module__, found.__name__):
            module.__class__ = found
