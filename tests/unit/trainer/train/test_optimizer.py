"""What the optimizer does with frozen weights and a schedule's values, and how the average follows it."""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from masktrain_trainer.config import Architecture, Hyperparameters, Optimizer
from masktrain_trainer.model.precision import with_layout
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.train.optimizer import (
    FlatUpdate,
    ModelEma,
    TensorUpdate,
    apply_step_values,
    build_optimizer,
    parameter_groups,
)
from masktrain_trainer.train.schedule import StepValues


def nano() -> Yolo:
    return build_yolo(Architecture.YOLOV5N, 3)


def test_every_parameter_is_in_exactly_one_group() -> None:
    model = nano()
    grouped = [id(parameter) for group in parameter_groups(model) for parameter in group]
    assert sorted(grouped) == sorted(id(parameter) for parameter in model.parameters())


def test_frozen_parameters_are_in_none() -> None:
    model = nano()
    model.model[0].requires_grad_(False)
    grouped = {id(parameter) for group in parameter_groups(model) for parameter in group}
    assert not grouped & {id(parameter) for parameter in model.model[0].parameters()}


def test_values_are_put_in_force_in_the_order_of_the_groups() -> None:
    optimizer = build_optimizer(nano(), Hyperparameters(), 16)
    apply_step_values(optimizer, StepValues(learning_rates=(0.3, 0.2, 0.1), momentum=0.5, accumulate=1))
    in_force = [(group["name"], group["lr"], group["momentum"]) for group in optimizer.param_groups]
    assert in_force == [("biases", 0.3, 0.5), ("decayed", 0.2, 0.5), ("norms", 0.1, 0.5)]


def test_no_momentum_is_allowed() -> None:
    model = nano()
    optimizer = build_optimizer(model, Hyperparameters(momentum=0.0), 16)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()


def test_state_survives_a_checkpoint() -> None:
    model = nano()
    optimizer = build_optimizer(model, Hyperparameters(), 16)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    again = build_optimizer(model, Hyperparameters(), 16)
    again.load_state_dict(optimizer.state_dict())
    for parameter in model.parameters():
        expected = optimizer.state[parameter]["momentum_buffer"]
        assert torch.equal(again.state[parameter]["momentum_buffer"], expected)


@pytest.mark.parametrize(
    ("kind", "expected"), [(Optimizer.ADAM, torch.optim.Adam), (Optimizer.ADAMW, torch.optim.AdamW)]
)
def test_adam_takes_the_momentum_as_its_first_beta_and_keeps_it(
    kind: Optimizer, expected: type[torch.optim.Optimizer]
) -> None:
    optimizer = build_optimizer(nano(), Hyperparameters(momentum=0.9), 64, kind)
    apply_step_values(optimizer, StepValues(learning_rates=(0.3, 0.2, 0.1), momentum=0.5, accumulate=1))
    assert type(optimizer) is expected
    assert [(group["lr"], group["betas"]) for group in optimizer.param_groups] == [
        (0.3, (0.9, 0.999)),
        (0.2, (0.9, 0.999)),
        (0.1, (0.9, 0.999)),
    ]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.0, 0.0005, 0.0]


def small_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def disturb(model: nn.Module) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
        model(torch.randn(4, 3, 8, 8))


def test_weights_and_statistics_are_averaged_with_the_ramped_decay() -> None:
    model = small_model()
    ema = ModelEma(model, decay=0.9, ramp_steps=10)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    disturb(model)
    ema.update(model)
    decay = ema.decay_at(1)
    assert 0 < decay < 0.9
    for key, value in ema.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, decay * start[key] + (1 - decay) * model.state_dict()[key])


def test_the_average_never_trains_and_never_aliases_the_model() -> None:
    model = small_model()
    ema = ModelEma(model, decay=0.9, ramp_steps=10)
    assert not ema.module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())
    before = ema.module.state_dict()["0.weight"].clone()
    disturb(model)
    assert torch.equal(ema.module.state_dict()["0.weight"], before)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_a_resumed_average_continues_with_the_same_numbers(memory_format: torch.memory_format) -> None:
    model = small_model()
    ema = ModelEma(model, decay=0.99, ramp_steps=5)
    for _ in range(3):
        disturb(model)
        ema.update(model)
    resumed = ModelEma(with_layout(small_model(), memory_format), decay=0.99, ramp_steps=5)
    resumed.load_state_dict(ema.state_dict())
    disturb(model)
    ema.update(model)
    resumed.update(model)
    assert resumed.updates == 4
    for key, value in ema.module.state_dict().items():
        assert torch.equal(resumed.module.state_dict()[key], value)


def test_the_decay_approaches_its_final_value() -> None:
    ema = ModelEma(nn.Linear(1, 1), decay=0.9999, ramp_steps=2000)
    assert ema.decay_at(0) == 0
    assert ema.decay_at(10**9) == 0.9999


LIMIT = 10.0


class Steps:
    """A model that is stepped with gradients that depend on the number of the step alone."""

    def __init__(self, kind: type[TensorUpdate], optimizer: Optimizer, document: dict[str, Any] | None = None) -> None:
        torch.manual_seed(0)
        self.model = with_layout(nano(), torch.channels_last)
        self.model.model[0].requires_grad_(False)
        self.ema = ModelEma(self.model, 0.9, 10)
        self.optimizer = build_optimizer(self.model, Hyperparameters(), 16, optimizer)
        if document is not None:
            self.model.load_state_dict(document["model"])
            self.ema.load_state_dict(document["ema"])
            self.optimizer.load_state_dict(document["optimizer"])
        self.update = kind(self.model, self.optimizer)
        self.scaler = GradScaler("cpu", enabled=False)

    def take(self, *numbers: int) -> "Steps":
        for number in numbers:
            generator = torch.Generator().manual_seed(number)
            rate = 0.01 * number
            apply_step_values(self.optimizer, StepValues((2 * rate, rate, rate), momentum=0.8, accumulate=1))
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    # In the weights' order of memory, as a backward pass makes them.
                    gradient = torch.empty_like(parameter.detach()).normal_(std=0.002 * number, generator=generator)
                    parameter.grad = gradient if parameter.grad is None else parameter.grad.add_(gradient)
            self.update.clip(LIMIT)
            self.update.step(self.scaler)
            self.update.clear_gradients()
            self.update.average(self.ema)
        return self

    def document(self) -> dict[str, Any]:
        """As a checkpoint has it: a copy, from which another run can go on."""
        return copy.deepcopy(
            {
                "model": self.model.state_dict(),
                "ema": self.ema.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        )


def assert_same(actual: Any, expected: Any, *, rtol: float, atol: float) -> None:
    if isinstance(expected, dict):
        assert actual.keys() == expected.keys()
        for key in expected:
            assert_same(actual[key], expected[key], rtol=rtol, atol=atol)
    elif isinstance(expected, Tensor):
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol)
    else:
        assert actual == expected


@pytest.mark.parametrize("optimizer", list(Optimizer))
@pytest.mark.parametrize(
    ("numbers", "tolerance"),
    # The norm of the gradient of the step that is clipped is summed in another order.
    [((1, 2), {"rtol": 1e-6, "atol": 1e-8}), ((1, 2, 30), {"rtol": 1e-4, "atol": 1e-5})],
)
def test_flat_buffers_give_the_numbers_and_the_checkpoint_of_single_tensors(
    numbers: tuple[int, ...], tolerance: dict[str, float], optimizer: Optimizer
) -> None:
    by_tensor, flat = (Steps(kind, optimizer).take(*numbers).document() for kind in (TensorUpdate, FlatUpdate))
    assert_same(flat, by_tensor, **tolerance)


@pytest.mark.parametrize("optimizer", list(Optimizer))
@pytest.mark.parametrize("before", [TensorUpdate, FlatUpdate])
def test_flat_buffers_go_on_from_a_checkpoint(before: type[TensorUpdate], optimizer: Optimizer) -> None:
    """An older version's or their own, to the last bit, since nothing is clipped."""
    document = Steps(before, optimizer).take(1, 2).document()
    resumed = Steps(FlatUpdate, optimizer, document).take(3)
    straight = Steps(FlatUpdate, optimizer).take(1, 2, 3)
    assert_same(resumed.document(), straight.document(), rtol=0, atol=0)


def test_flat_buffers_keep_layout_and_identity_of_parameters() -> None:
    model = with_layout(nano(), torch.channels_last)
    before = {name: (id(value), value.stride(), value.detach().clone()) for name, value in model.named_parameters()}
    FlatUpdate(model, build_optimizer(model, Hyperparameters(), 16))
    for name, parameter in model.named_parameters():
        identity, stride, value = before[name]
        assert (id(parameter), parameter.stride()) == (identity, stride)
        assert torch.equal(parameter, value)
        assert parameter.grad is not None
        assert parameter.grad.stride() == stride
        assert parameter.data_ptr() % 256 == next(model.parameters()).data_ptr() % 256


def test_flat_buffers_show_moments_that_come_with_a_later_step() -> None:
    model = small_model()
    optimizer = build_optimizer(model, Hyperparameters(), 16)
    update, scaler = FlatUpdate(model, optimizer), GradScaler("cpu", enabled=False)
    for momentum, expected in ((0.0, False), (0.9, True)):
        for group in optimizer.param_groups:
            group.update(momentum=momentum, nesterov=momentum > 0)
        update.step(scaler)
        assert all(("momentum_buffer" in optimizer.state[value]) is expected for value in model.parameters())
