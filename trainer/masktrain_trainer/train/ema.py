"""An exponential moving average of the weights: what is validated and shipped instead of the last, noisy step."""

import copy
import itertools
import math
from typing import Any

import torch
from torch import Tensor, nn


class ModelEma:
    """Averages every floating-point entry of the state, batch-norm statistics included.

    The decay starts near 0 and approaches `decay` with the time constant `ramp_steps`, in optimizer steps, so that the
    random start is forgotten. Give the bare model, not one wrapped for data-parallel training or compilation.
    """

    def __init__(self, model: nn.Module, decay: float, ramp_steps: int) -> None:
        self.module = copy.deepcopy(model).eval().requires_grad_(False)
        self.decay = decay
        self.ramp_steps = ramp_steps
        self.updates = 0

    def decay_at(self, updates: int) -> float:
        return self.decay * (1 - math.exp(-updates / self.ramp_steps))

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after an optimizer step: a few kernels in all, not one for each tensor."""
        self.updates += 1
        weight = 1 - self.decay_at(self.updates)
        torch._foreach_lerp_(_floating_state(self.module), _floating_state(model), weight)

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "state_dict": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = int(state["updates"])
        self.module.load_state_dict(state["state_dict"])


def _floating_state(model: nn.Module) -> list[Tensor]:
    # Not state_dict(): building two of them at each step costs more than the averaging.
    state = itertools.chain(model.parameters(), model.buffers())
    return [tensor.detach() for tensor in state if tensor.is_floating_point()]
