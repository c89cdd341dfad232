"""The slim file that a user gets, made from a training state."""

from typing import Any

import torch
from torch import Tensor

from .load import MODEL_FORMAT
from .snapshot import SnapshotMeta


def slim_model(state: dict[str, Any], meta: SnapshotMeta) -> dict[str, Any]:
    """The averaged weights of `state` in float16, with what is needed to run them."""
    weights: dict[str, Tensor] = state["ema"]["state_dict"]
    return {
        "format": MODEL_FORMAT,
        **state["model_info"],
        "epoch": meta.epoch,
        "step": meta.step,
        "fitness": meta.fitness,
        "metrics": state["metrics"],
        "training": state["training"],
        "state_dict": {name: _half(tensor) for name, tensor in weights.items()},
    }


def _half(tensor: Tensor) -> Tensor:
    return tensor.to(torch.float16) if tensor.is_floating_point() else tensor
