"""The optimizer over three groups of parameters, and the moving average of the weights that follows its steps.

A model has hundreds of tensors, most of them small. `TensorUpdate` hands them to kernels that take lists, which suits
GPUs. On a CPU each of those tensors costs a parallel region, so `FlatUpdate` lays them side by side in one buffer.
"""

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeGuard, cast

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler
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
        self.follow(_floating_state(self.module), _floating_state(model))

    @torch.no_grad()
    def follow(self, averaged: list[Tensor], current: list[Tensor]) -> None:
        """`averaged` holds the memory of this average, `current` that of the model, piece by piece alike."""
        self.updates += 1
        torch._foreach_lerp_(averaged, current, 1 - self.decay_at(self.updates))

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "state_dict": self.module.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = int(state["updates"])
        self.module.load_state_dict(state["state_dict"])


def _floating_state(model: nn.Module) -> list[Tensor]:
    # Not state_dict(): building two of them at each step costs more than the averaging.
    state = itertools.chain(model.parameters(), model.buffers())
    return [tensor.detach() for tensor in state if tensor.is_floating_point()]


class TensorUpdate:
    """What follows the backward passes of an optimizer step, tensor by tensor."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        """What steps, and what a gradient scaler is to be told of."""
        self._parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def attach_gradients(self) -> None:
        """Begin with none; call it after the model is wrapped, which may take gradients away."""

    def clip(self, limit: float) -> None:
        """Scale the gradients down to a norm of `limit` over all of them, if it is larger."""
        nn.utils.clip_grad_norm_(self._parameters, limit, foreach=True)

    def step(self, scaler: GradScaler) -> None:
        scaler.step(self.optimizer)

    def clear_gradients(self) -> None:
        # The next backward pass writes instead of adding to zeros.
        self.optimizer.zero_grad(set_to_none=True)

    def average(self, ema: ModelEma) -> None:
        ema.update(self.model)


CLIPPING_EPSILON = 1e-6
"""torch's own, in clip_grad_norm_."""
ALIGNMENT = 64
"""Numbers; 256 bytes of float32, so that no vector instruction straddles two tensors."""


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a buffer, in the order of memory that it has: channels last stays so."""

    start: int
    shape: torch.Size
    stride: tuple[int, ...]

    @classmethod
    def of(cls, tensor: Tensor, start: int) -> "_Place":
        dense = torch.empty_like(tensor, device="meta")  # the same strides, but without gaps
        return cls(start, dense.shape, dense.stride())

    @property
    def end(self) -> int:
        return self.start + math.ceil(self.shape.numel() / ALIGNMENT) * ALIGNMENT

    def within(self, buffer_N: Tensor, first: int = 0) -> Tensor:
        """The tensor's view of a buffer whose first number has the place `first`."""
        return buffer_N.as_strided(self.shape, self.stride, buffer_N.storage_offset() + self.start - first)


class _Layout:
    """Places for a model's floating-point state by name: group by group what is trained, then the rest."""

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        state = _named_floating_state(model)
        names = {id(tensor): name for name, tensor in state.items()}
        self.places: dict[str, _Place] = {}
        self.end = 0
        self.groups: list[range] = []
        for group in optimizer.param_groups:
            start = self.end
            self._add({names[id(parameter)]: parameter for parameter in group["params"]})
            self.groups.append(range(start, self.end))
        self.trained = self.end
        self._add({name: tensor for name, tensor in state.items() if name not in self.places})

    def _add(self, tensors: Mapping[str, Tensor]) -> None:
        for name, tensor in tensors.items():
            self.places[name] = _Place.of(tensor, self.end)
            self.end = self.places[name].end

    @torch.no_grad()
    def move(self, model: nn.Module) -> Tensor:
        """Let the model's tensors, which stay the same objects, share one new buffer; the buffer."""
        state = _named_floating_state(model)
        first = next(iter(state.values()))
        buffer_N = torch.zeros(self.end, dtype=first.dtype, device=first.device)
        for name, place in self.places.items():
            view = place.within(buffer_N)
            view.copy_(state[name])
            state[name].data = view
        return buffer_N


@dataclass(frozen=True)
class _FlatGroup:
    """A group of parameters by name, each with its place, and the one parameter that is all of them."""

    named: dict[str, Any]
    flat: dict[str, Any]
    places: list[tuple[nn.Parameter, _Place]]
    first: int

    @property
    def parameter(self) -> nn.Parameter:
        return cast("nn.Parameter", self.flat["params"][0])

    def within(self, place: _Place, value_N: Tensor) -> Tensor:
        return place.within(value_N, self.first)


class FlatUpdate(TensorUpdate):
    """The same in a few operations over whole buffers, of which each group of parameters is a slice.

    Parameters, gradients, moments and averages stay the tensors that they were, as views: state dicts look as before.
    The padding between them is zero in all buffers and stays so. The given optimizer keeps the settings and shows the
    state, from which the flat one goes on; it must not be given another state later.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer) -> None:
        super().__init__(model, optimizer)
        self._named, self._layout = optimizer, _Layout(model, optimizer)
        self._values_N = self._layout.move(model)
        self._gradients_N = torch.zeros_like(self._values_N[: self._layout.trained])
        self._averages: tuple[ModelEma, Tensor] | None = None
        self._groups = [
            self._flat_group(group, span)
            for group, span in zip(optimizer.param_groups, self._layout.groups, strict=True)
            if len(span)
        ]
        # Fused is asked for here, since torch looks at it while constructing; the groups bring all other settings.
        build: Callable[..., Optimizer] = type(optimizer)
        self.optimizer = build([group.flat for group in self._groups], lr=0.0, fused=True)
        for group in self._groups:
            self._take_over_state(group)
            self._show_state(group)
        self.attach_gradients()

    def _flat_group(self, named: dict[str, Any], span: range) -> _FlatGroup:
        whole_N = nn.Parameter(self._values_N[span.start : span.stop])
        whole_N.grad = self._gradients_N[span.start : span.stop]
        names = {id(parameter): name for name, parameter in self.model.named_parameters()}
        places = [(parameter, self._layout.places[names[id(parameter)]]) for parameter in named["params"]]
        return _FlatGroup(named, {**named, "params": [whole_N]}, places, span.start)

    def _take_over_state(self, group: _FlatGroup) -> None:
        """Lay the moments of a checkpoint side by side, too."""
        state = self.optimizer.state[group.parameter]
        for parameter, place in group.places:
            for name, value in self._named.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.shape == parameter.shape:
                    whole_N = state.setdefault(name, torch.zeros_like(group.parameter, requires_grad=False))
                    group.within(place, whole_N).copy_(value)
                else:
                    state.setdefault(name, value)

    def _show_state(self, group: _FlatGroup) -> None:
        """Tensor by tensor, as checkpoints keep it; counts of steps are the group's own."""
        for parameter, place in group.places:
            self._named.state[parameter] = {
                name: group.within(place, value) if _is_like(value, group.parameter) else value
                for name, value in self.optimizer.state[group.parameter].items()
            }

    def attach_gradients(self) -> None:
        self._gradients_N.zero_()
        for group in self._groups:
            for parameter, place in group.places:
                parameter.grad = place.within(self._gradients_N)

    def clip(self, limit: float) -> None:
        factor = limit / (float(torch.linalg.vector_norm(self._gradients_N)) + CLIPPING_EPSILON)
        # On a CPU it costs nothing to ask. A norm that is no number goes on to the weights, where it is looked for.
        if not factor >= 1:
            self._gradients_N.mul_(factor)

    def step(self, scaler: GradScaler) -> None:
        for group in self._groups:
            group.flat.update((name, value) for name, value in group.named.items() if name != "params")
        super().step(scaler)
        for group in self._groups:
            # SGD gets its moments in its first step with momentum, Adam in its first.
            if self.optimizer.state[group.parameter].keys() != self._named.state[group.places[0][0]].keys():
                self._show_state(group)

    def clear_gradients(self) -> None:
        self._gradients_N.zero_()

    def average(self, ema: ModelEma) -> None:
        if self._averages is None or self._averages[0] is not ema:
            self._averages = ema, self._layout.move(ema.module)
        ema.follow([self._averages[1]], [self._values_N])


def _is_like(value: object, whole_N: Tensor) -> TypeGuard[Tensor]:
    return isinstance(value, Tensor) and value.shape == whole_N.shape


def _named_floating_state(model: nn.Module) -> dict[str, Tensor]:
    state = itertools.chain(model.named_parameters(), model.named_buffers())
    return {name: tensor for name, tensor in state if tensor.is_floating_point()}
