"""A detector as its file describes it, whoever wrote the file; and which of the ten sizes a state dict belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from masktrain_trainer.config import Architecture
from masktrain_trainer.model.graph import SIZES, Size
from masktrain_trainer.model.yolo import build_yolo


@dataclass(frozen=True)
class DetectorWeights:
    """Tensors by YOLOv5's names; `names` are those of the classes that they know.

    image_size: side in pixels that it was trained for, as far as the file says; else what its architecture is made for.
    """

    architecture: Architecture
    names: list[str]
    image_size: int
    state_dict: dict[str, Tensor]


_FIRST, _FIRST_CHANNELS = "model.0.conv.weight", 64


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
    with torch.device("meta"):
        return {name: tensor.shape for name, tensor in build_yolo(architecture, classes).state_dict().items()}
