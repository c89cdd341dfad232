"""The optimizer over three groups of parameters, and the moving average of the weights that follows its steps."""

import copy
import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.config import Optimizer as OptimizerKind

from .schedule import StepValues, accumulation

ADAM_SECOND_BETA = 0.999
NORM_LAYERS = (nn.BatchNorm2d, nn.SyncBatchNorm)


def build_optimizer(
    model: nn.Module, hyperparameters: Hyperparameters, batch_size: int, kind: OptimizerKind = OptimizerKind.SGD
) -> Optimizer:
    """Groups in the order biases, decayed weights, norm weights; only the second decays.

    batch_size is the global one. The fused kernel updates all tensors of a group at once, on CPUs too.
    """
    # v7.0's order: results.csv names learning rates by it, so that x/lr0 is that of the biases.
    biases, decayed, norms = parameter_groups(model)
    groups = [
        {"name": "biases", "params": biases, "weight_decay": 0.0},
        {"name": "decayed", "params": decayed, "weight_decay": scaled_weight_decay(hyperparameters, batch_size)},
        {"name": "norms", "params": norms, "weight_decay": 0.0},
    ]
    learning_rate, momentum = hyperparameters.learning_rate, hyperparameters.momentum
    if kind is OptimizerKind.SGD:
        # torch refuses Nesterov's momentum without momentum.
        return SGD(groups, lr=learning_rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    adaptive = Adam if kind is OptimizerKind.ADAM else AdamW
    return adaptive(groups, lr=learning_rate, betas=(momentum, ADAM_SECOND_BETA), fused=True)


def parameter_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """Biases, weights that decay, weights of normalisation layers; frozen parameters are in none."""
    biases: list[nn.Parameter] = []
    decayed: list[nn.Parameter] = []
    norms: list[nn.Parameter] = []
    for module, name, parameter in _trainable(model):
        if name == "bias":
            biases.append(parameter)
        elif isinstance(module, NORM_LAYERS):
            norms.append(parameter)
        else:
            decayed.append(parameter)
    return biases, decayed, norms


def scaled_weight_decay(hyperparameters: Hyperparameters, batch_size: int) -> float:
    """The hyperparameter is meant for the nominal batch; an optimizer step over more images decays more."""
    nominal = hyperparameters.nominal_batch_size
    return hyperparameters.weight_decay * batch_size * accumulation(batch_size, nominal) / nominal


def apply_step_values(optimizer: Optimizer, values: StepValues) -> None:
    """Adam's first beta stays as it is during the warm-up: v7.0 ramps only SGD's momentum."""
    for group, learning_rate in zip(optimizer.param_groups, values.learning_rates, strict=True):
        group["lr"] = learning_rate
        if "momentum" in group:
            group["momentum"] = values.momentum


def _trainable(model: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Parameter]]:
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad:
                yield module, name, parameter


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
        """Follow the weights after an optimizer step: a few kernels in all, not one for each tensor."""
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
