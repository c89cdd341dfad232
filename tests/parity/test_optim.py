"""README section 8: parameter groups, weight decay, the schedule at every listed iteration, optimizer steps, EMA."""

import numpy as np
import pytest
from torch import nn

from masktrain_trainer.config import Architecture, Hyperparameters, Schedule
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.train.optimizer import ModelEma, build_optimizer, scaled_weight_decay
from masktrain_trainer.train.schedule import TrainingSchedule, accumulation

from .reference_data import arrays

EPOCHS = 30
RUNS = [(batches, batch, shape) for batches in (10, 300) for batch in (16, 64, 128) for shape in Schedule]


@pytest.mark.parametrize(("name", "num_classes"), [("s", 80), ("n6", 3)])
def test_parameter_groups(name: str, num_classes: int) -> None:
    reference = arrays("optim")
    optimizer = build_optimizer(build_yolo(Architecture(f"yolov5{name}"), num_classes), Hyperparameters(), 16)
    groups = optimizer.param_groups
    assert [len(group["params"]) for group in groups] == list(reference[f"{name}_group_tensors"])
    if name == "s":
        elements = [sum(parameter.numel() for parameter in group["params"]) for group in groups]
        assert elements == list(reference["s_group_elements"])
        np.testing.assert_allclose([group["weight_decay"] for group in groups], reference["s_group_weight_decay"])


def test_weight_decay_follows_the_batch() -> None:
    for batch_size, accumulate, weight_decay in arrays("optim")["batch_accumulate_weight_decay"]:
        assert accumulation(int(batch_size), 64) == accumulate
        np.testing.assert_allclose(scaled_weight_decay(Hyperparameters(), int(batch_size)), weight_decay, rtol=1e-12)


def schedule_of(batches: int, batch_size: int, shape: Schedule) -> TrainingSchedule:
    return TrainingSchedule(Hyperparameters(), shape, epochs=EPOCHS, batches_per_epoch=batches, batch_size=batch_size)


def key_of(batches: int, batch_size: int, shape: Schedule) -> str:
    return f"nb{batches}_batch{batch_size}_{shape.lower()}"


@pytest.mark.parametrize(("batches", "batch_size", "shape"), RUNS)
def test_values_in_force(batches: int, batch_size: int, shape: Schedule) -> None:
    schedule = schedule_of(batches, batch_size, shape)
    for iteration, _, *expected in arrays("optim")[f"warmup_{key_of(batches, batch_size, shape)}"]:
        values = schedule.at(int(iteration))
        actual = (*values.learning_rates, values.momentum, values.accumulate)
        np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-18)


@pytest.mark.parametrize(("batches", "batch_size", "shape"), RUNS)
def test_learning_rates_at_the_end_of_epochs(batches: int, batch_size: int, shape: Schedule) -> None:
    schedule = schedule_of(batches, batch_size, shape)
    for epoch, *expected in arrays("optim")[f"epoch_lr_{key_of(batches, batch_size, shape)}"]:
        last_iteration = int(epoch + 1) * batches - 1
        np.testing.assert_allclose(schedule.at(last_iteration).learning_rates, expected, rtol=1e-12)


def optimizer_steps(schedule: TrainingSchedule) -> list[int]:
    """The iterations after which a training with this schedule steps."""
    steps, gathered = [], 0
    for iteration in range(schedule.epochs * schedule.batches_per_epoch):
        gathered += 1
        if schedule.is_optimizer_step(iteration, gathered):
            steps.append(iteration)
            gathered = 0
    return steps


@pytest.mark.parametrize(("batches", "batch_size", "shape"), RUNS)
def test_optimizer_steps(batches: int, batch_size: int, shape: Schedule) -> None:
    """As one long epoch, since the end of an epoch is a step of ours and none of YOLOv5's."""
    reference, key = arrays("optim"), key_of(batches, batch_size, shape)
    warmup = schedule_of(batches, batch_size, shape).warmup_iterations
    whole = EPOCHS * batches
    hyperparameters = Hyperparameters(warmup_epochs=warmup / whole)
    steps = optimizer_steps(TrainingSchedule(hyperparameters, shape, 1, whole, batch_size))
    assert steps[:60] == list(reference[f"first_steps_{key}"])
    forced = whole - 1 - steps[-2] < accumulation(batch_size, 64)
    assert len(steps) - forced == reference[f"step_count_{key}"].item()


@pytest.mark.parametrize(("batches", "batch_size", "shape"), RUNS)
def test_every_epoch_ends_with_a_step_and_nothing_else_differs_within_it(
    batches: int, batch_size: int, shape: Schedule
) -> None:
    schedule = schedule_of(batches, batch_size, shape)
    steps = optimizer_steps(schedule)
    ends = set(range(batches - 1, EPOCHS * batches, batches))
    assert ends <= set(steps)
    for before, step in zip([-1, *steps], steps, strict=False):
        enough = step - before == schedule.at(step).accumulate
        assert enough or step in ends


@pytest.mark.parametrize("shape", list(Schedule))
def test_decay(shape: Schedule) -> None:
    schedule = schedule_of(10, 16, shape)
    fractions = [schedule.decayed_learning_rate(epoch) / 0.01 for epoch in range(EPOCHS)]
    np.testing.assert_allclose(fractions, arrays("optim")[f"lf_{shape.lower()}_30"], rtol=1e-12)


def test_ema_decay() -> None:
    reference = arrays("optim")
    ema = ModelEma(nn.Linear(1, 1), decay=0.9999, ramp_steps=2000)
    decays = [ema.decay_at(int(updates)) for updates in reference["ema_updates"]]
    np.testing.assert_allclose(decays, reference["ema_decay"], rtol=1e-12)
