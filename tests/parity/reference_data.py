"""The reference numbers: arrays by file; weights and images by recipe (`reference/README.md`, section 1)."""

import functools
import hashlib
import math
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from masktrain_trainer.config import Architecture
from masktrain_trainer.model.yolo import Yolo, build_yolo

Arrays = MappingProxyType[str, NDArray[Any]]


@functools.cache
def arrays(name: str) -> Arrays:
    with np.load(Path(__file__).parent / "reference" / f"{name}.npz") as file:
        return MappingProxyType({key: file[key] for key in file.files})


def tensor(array: NDArray[Any], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(array.copy()).to(dtype)


def image(seed: int, shape: tuple[int, int, int, int]) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random(shape).astype(np.float32))


def reference_yolo(short_name: str, num_classes: int, head_scale: float) -> Yolo:
    """The model with the reference weights, in training mode. `head_scale` is the README's H."""
    model = build_yolo(Architecture(f"yolov5{short_name}"), num_classes)
    head = f"model.{len(model.model) - 1}."
    state = model.state_dict()
    for key, value in state.items():
        if key != f"{head}anchors":
            value.copy_(torch.from_numpy(_draw(key, tuple(value.shape), head, head_scale)))
    return model


def _draw(key: str, shape: tuple[int, ...], head: str, head_scale: float) -> NDArray[Any]:
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(f"0:{key}".encode()).digest()[:8], "little"))
    kind = key.rsplit(".", 1)[1]
    if kind == "num_batches_tracked":
        return np.zeros(shape, dtype=np.int64)
    if len(shape) == 4:
        drawn = _draw_convolution(rng, shape, head_scale if key.startswith(head) else None)
    elif key.startswith(head):
        drawn = rng.standard_normal(shape)
    elif kind in {"weight", "running_var"}:
        drawn = rng.uniform(0.5, 1.5, shape)
    else:
        drawn = 0.1 * rng.standard_normal(shape)
    float32: NDArray[Any] = drawn.astype(np.float32)
    return float32


def _draw_convolution(rng: np.random.Generator, shape: tuple[int, ...], head_scale: float | None) -> NDArray[Any]:
    fan_in = math.prod(shape[1:])
    drawn: NDArray[Any] = rng.standard_normal(shape)
    if head_scale is None:
        drawn -= drawn.mean(axis=(1, 2, 3), keepdims=True)
    drawn *= math.sqrt(1.8 / fan_in) if head_scale is None else head_scale * math.sqrt(1 / fan_in)
    return drawn
