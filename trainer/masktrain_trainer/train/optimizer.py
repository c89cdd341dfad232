"""The optimizer over three groups of parameters, and the values that a schedule puts in force."""

from collections.abc import Iterator

from torch import nn
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
    biases, decayed, norms = parameter_groups(model)
    groups = [
        {"name": "biases", "params": biases, "weight_decay": 0.0},
        {"name": "decayed", "params": decayed, "weight_decay": scaled_weight_decay(hyperparameters, batch_size)},
        {"name": "norms", "params": norms, "weight_decay": 0.0},
    ]
    learning_rate, momentum = hyperparameters.learning_rate, hyperparameters.momentum
    if kind is OptimizerKind.SGD:
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
