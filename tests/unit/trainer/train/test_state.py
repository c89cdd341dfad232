"""When training stops, table by table."""

import math

import pytest

from masktrain_trainer.train.state import EarlyStopping


def last_epoch(fitness: list[float], patience: int) -> int:
    stopping = EarlyStopping(patience)
    for epoch, value in enumerate(fitness):
        stopping.record(epoch, value)
        if stopping.should_stop(epoch):
            return epoch
    return len(fitness)


@pytest.mark.parametrize(
    ("fitness", "patience", "expected"),
    [
        ([0.1, 0.2, 0.1, 0.1, 0.1], 2, 3),
        ([0.1, 0.2, 0.1, 0.3, 0.1], 3, 5),
        ([0.0, 0.0, 0.0, 0.0], 2, 2),  # standing still at zero is not progress
        ([0.5, 0.5, 0.5, 0.5], 3, 3),  # nor is a plateau
        ([0.2, 0.1, 0.1, 0.1], 0, 4),  # 0: never
        ([0.2, math.nan, math.nan], 2, 2),
        ([math.nan, 0.1, 0.2], 2, 3),
    ],
)
def test_stop(fitness: list[float], patience: int, expected: int) -> None:
    assert last_epoch(fitness, patience) == expected


def test_the_first_epoch_is_the_best_so_far_even_at_zero() -> None:
    stopping = EarlyStopping(patience=5)
    assert stopping.record(0, 0.0)
    assert not stopping.record(1, 0.0)
    assert stopping.record(2, 0.1)
    assert (stopping.best_epoch, stopping.best_fitness) == (2, 0.1)


def test_patience_survives_a_restart() -> None:
    stopping = EarlyStopping(patience=3)
    stopping.record(4, 0.7)
    resumed = EarlyStopping(patience=3)
    resumed.load_state_dict(stopping.state_dict())
    assert not resumed.record(5, 0.7)
    assert not resumed.should_stop(6)
    assert resumed.should_stop(7)
