"""Files as YOLOv5 writes them, made without its code: modules of its names exist only while they are pickled."""

import contextlib
import pickle
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
from torchvision import transforms

from masktrain_trainer.config import Architecture
from masktrain_trainer.model import blocks
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import Yolo, build_yolo

_FOREIGN = ("models", "utils", "yolov5", "ultralytics", "yolov6", "yolox", "dill", "other")
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


def expanded_grids(root: Any) -> Any:
    """As a head keeps them after a picture of 640 pixels: the anchors once a cell, without memory of their own."""
    head = root.model[-1]
    cells = (80, 40, 20)
    head.grid = [torch.zeros(1, 3, side, side, 2) for side in cells]
    head.anchor_grid = [torch.ones(3, 2).view(1, 3, 1, 1, 2).expand(1, 3, side, side, 2) for side in cells]
    return root


def classifier() -> Any:
    """As YOLOv5's classify/train.py leaves it, with what its pictures went through: objects of torchvision."""
    root: Any = class_named("models.yolo.ClassificationModel")()
    root.model = nn.Sequential(_of("models.common.Conv"), _of("models.common.C3"), _of("models.common.Classify"))
    root.names, root.nc = dict(enumerate(NAMES)), len(NAMES)
    root.transforms = transforms.Compose(
        [
            transforms.Resize(224, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return root


def of_layers(*paths: str, root: str = "models.yolo.Model", names: Any = NAMES) -> Any:
    """A model of another family, whose root has the same name as YOLOv5's."""
    found: Any = class_named(root)()
    found.model = nn.Sequential(*map(_of, paths))
    found.names, found.nc, found.stride = names, len(names), torch.tensor([8.0, 16.0, 32.0])
    return found


def _of(path: str) -> nn.Module:
    found = class_named(path)()
    found.add_module("conv", nn.Conv2d(3, 8, 1, bias=False))
    return found


def save(document: Any, path: Path, **options: Any) -> Path:
    with _importable(document):
        torch.save(document, path, **options)
    return path


def save_with_dill(document: Any, path: Path) -> Path:
    """As from a program that pickles with dill: built-in types and NumPy's arrays by functions of its own."""

    def load_type(name: str) -> type:
        return {"set": set, "frozenset": frozenset, "dict": dict, "list": list}[name]

    def create_array(function: Any, arguments: Any, state: Any, attributes: Any) -> None: ...

    for function in (load_type, create_array):
        function.__module__, function.__name__ = "dill._dill", f"_{function.__name__}"
        function.__qualname__ = function.__name__

    class Pickler(pickle.Pickler):
        def reducer_override(self, found: Any) -> Any:
            if type(found) is np.ndarray:
                return create_array, (*found.__reduce__(), None)
            known = found in (set, frozenset, dict, list) if isinstance(found, type) else False
            return (load_type, (found.__name__,)) if known else NotImplemented

    dill, inner, module = (types.ModuleType(name) for name in ("dill", "dill._dill", "pickles_as_dill"))
    vars(inner).update(_load_type=load_type, _create_array=create_array)
    vars(module)["Pickler"] = Pickler
    with _importable(document):
        sys.modules.update({"dill": dill, "dill._dill": inner})
        torch.save(document, path, pickle_module=module)
    return path


@contextlib.contextmanager
def _importable(document: Any) -> Iterator[None]:
    """Pickling looks classes up by name."""
    before = dict(sys.modules)
    foreign = [found for found in _objects(document) if _is_foreign(type(found))]
    try:
        for kind in {type(found) for found in foreign}:
            parts = kind.__module__.split(".")
            for end in range(1, len(parts) + 1):
                name = ".".join(parts[:end])
                inner = sys.modules.setdefault(name, types.ModuleType(name))
                if end > 1:
                    setattr(sys.modules[name.rpartition(".")[0]], parts[end - 1], inner)
            setattr(sys.modules[kind.__module__], kind.__name__, kind)
            _share(kind, foreign)
        yield
    finally:
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] in _FOREIGN:
                del sys.modules[name]


def _is_foreign(kind: type) -> bool:
    return kind.__module__.partition(".")[0] in _FOREIGN


def _objects(document: Any) -> Iterator[Any]:
    """All that pickling reaches through containers, modules and objects of foreign classes."""
    waiting, seen = [document], set()
    while waiting:
        found = waiting.pop()
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        if isinstance(found, dict):
            waiting.extend(found.values())
        elif isinstance(found, list | tuple):
            waiting.extend(found)
        elif isinstance(found, nn.Module) or _is_foreign(type(found)):
            waiting.extend(vars(found).values())


def _share(kind: type, foreign: list[Any]) -> None:
    """Every layer was given a class of its own; pickle wants the one that its name leads to."""
    for found in foreign:
        if (type(found).__module__, type(found).__name__) == (kind.__module__, kind.__name__):
            found.__class__ = kind
