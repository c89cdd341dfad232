"""Corners of the schedule that YOLOv5 never meets: no warm-up, a run shorter than its warm-up."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_trainer.config import Hyperparameters, Schedule
from masktrain_trainer.train.schedule import TrainingSchedule

BASE = TrainingSchedule(Hyperparameters(), Schedule.LINEAR, epochs=10, batches_per_epoch=20, batch_size=32)


def without_warmup() -> TrainingSchedule:
    return replace(BASE, hyperparameters=Hyperparameters(warmup_epochs=0, warmup_min_iterations=0))


def test_no_warmup_starts_at_the_full_learning_rate() -> None:
    first = without_warmup().at(0)
    assert first.learning_rates == (0.01, 0.01, 0.01)
    assert first.momentum == 0.937
    assert first.accumulate == 2


def test_a_run_shorter_than_its_warmup_never_settles() -> None:
    schedule = replace(BASE, epochs=2)
    assert all(schedule.is_warmup(iteration) for iteration in range(40))
    assert schedule.at(39).learning_rates[1] < 0.01


def test_the_minimum_of_iterations_can_be_lowered() -> None:
    schedule = replace(BASE, hyperparameters=Hyperparameters(warmup_epochs=1, warmup_min_iterations=5))
    assert schedule.warmup_iterations == 20
    assert schedule.is_warmup(20)
    assert not schedule.is_warmup(21)


def test_the_final_fraction_is_approached() -> None:
    for shape in Schedule:
        schedule = replace(BASE, shape=shape, epochs=1000)
        assert abs(schedule.at(1000 * 20 - 1).learning_rates[1] - 0.0001) < 3e-5


@settings(deadline=None)
@given(st.integers(0, 199), st.integers(1, 512), st.sampled_from(Schedule))
def test_values_are_always_usable(iteration: int, batch_size: int, shape: Schedule) -> None:
    values = replace(BASE, batch_size=batch_size, shape=shape).at(iteration)
    assert all(0 <= learning_rate <= 0.1 for learning_rate in values.learning_rates)
    assert 0.8 <= values.momentum <= 0.937
    assert 1 <= values.accumulate <= 64


def test_steps_come_once_in_every_accumulation_and_at_the_end_of_an_epoch() -> None:
    schedule = replace(without_warmup(), batches_per_epoch=8, batch_size=21)
    assert schedule.at(0).accumulate == 3
    steps, gathered = [], 0
    for iteration in range(16):
        gathered += 1
        if schedule.is_optimizer_step(iteration, gathered):
            steps.append(iteration)
            gathered = 0
    assert steps == [2, 5, 7, 10, 13, 15]


@pytest.mark.parametrize(
    ("batches_per_epoch", "warmup", "expected"),
    [
        (1000, {}, 2),  # 3 epochs
        (34, {}, 2),
        (33, {}, 3),  # 100 iterations
        (1, {}, 99),
        (100, {"warmup_epochs": 3.38}, 3),
        (20, {"warmup_epochs": 0, "warmup_min_iterations": 0}, -1),
        (20, {"warmup_epochs": 0, "warmup_min_iterations": 1}, 0),
    ],
)
def test_the_epoch_in_which_the_warm_up_ends(batches_per_epoch: int, warmup: dict[str, float], expected: int) -> None:
    h = Hyperparameters.model_validate(warmup)
    schedule = replace(BASE, hyperparameters=h, batches_per_epoch=batches_per_epoch)
    assert schedule.last_warmup_epoch == expected
