"""The slim file that a user gets, made from a training state."""

from typing import Any

import torch
from torch import Tensor

from masktrain_trainer.weights.load import MODEL_FORMAT

from .snapshot import UnusableSnapshot
from .snapshot_meta import SnapshotMeta


def slim_model(state: dict[str, Any], meta: SnapshotMeta) -> dict[str, Any]:
    """The averaged weights of `state` in float16, with what is needed to run them. Raises UnusableSnapshot."""
    missing = [name for name in ("ema", "model_info", "metrics", "training") if name not in state]
    if missing:
        raise UnusableSnapshot(f"No model can be made of a state without {', '.join(missing)}.")
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
