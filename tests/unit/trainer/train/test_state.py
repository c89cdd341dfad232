"""Which epoch's weights are best.pt and when training stops, table by table; and what a checkpoint brings of both."""

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.checkpoint.keys import Fence
from masktrain_trainer.checkpoint.manifest import Manifest, StoredFile
from masktrain_trainer.checkpoint.selection import best, models_best_first, superseded
from masktrain_trainer.config import Hyperparameters, Keep, Schedule
from masktrain_trainer.train.loop import closing_sentence
from masktrain_trainer.train.schedule import TrainingSchedule
from masktrain_trainer.train.state import (
    BestModel,
    EarlyStopping,
    Position,
    TrainingState,
    capture_state,
    restore_state,
)
from tests.unit.trainer.train.contexts import context as tiny_context
from tests.unit.trainer.train.contexts import state as tiny_state

NO_WARMUP = -1
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
fitnesses = st.lists(st.sampled_from([0.0, math.nan, 1e-9, 0.1, 0.2, 0.3]), min_size=1, max_size=30)


def last_epoch(fitness: list[float], patience: int, last_warmup_epoch: int = NO_WARMUP) -> int:
    """The epoch after which the training ends; the number of epochs if it is not stopped."""
    stopping = EarlyStopping(patience)
    for epoch, value in enumerate(fitness):
        stopping.record(epoch, value)
        if stopping.should_stop(epoch, last_warmup_epoch):
            return epoch
    return len(fitness)


def chosen(fitness: list[float]) -> int:
    """The epoch that best.pt is of in the end."""
    stopping = EarlyStopping(patience=0)
    kept = [epoch for epoch, value in enumerate(fitness) if stopping.record(epoch, value)]
    assert stopping.best_epoch == kept[-1]
    return stopping.best_epoch


@pytest.mark.parametrize(
    ("fitness", "patience", "expected"),
    [
        ([0.1, 0.2, 0.1, 0.1, 0.1], 2, 3),
        ([0.1, 0.2, 0.1, 0.3, 0.1], 3, 5),
        ([0.5, 0.5, 0.5, 0.5], 3, 3),  # a plateau is standing still
        ([0.2, 0.1, 0.1, 0.1], 0, 4),  # 0: never
        ([0.2, math.nan, math.nan], 2, 2),
        ([math.nan, 0.1, 0.2], 2, 3),
        ([0.0] * 9, 2, 9),  # nothing that a later epoch could fall short of
        ([math.nan] * 9, 2, 9),
        ([0.0, 0.0, 0.0, 0.1, 0.0, 0.0, 0.0], 2, 5),  # from the first fitness on
        ([0.0, 0.0, 0.0, 1e-9, 0.0, 0.0, 0.0], 2, 5),
    ],
)
def test_stop(fitness: list[float], patience: int, expected: int) -> None:
    assert last_epoch(fitness, patience) == expected


@pytest.mark.parametrize(
    ("last_warmup_epoch", "expected"), [(NO_WARMUP, 3), (0, 3), (1, 3), (2, 4), (5, 7), (7, 9), (8, 10), (99, 10)]
)
def test_patience_does_not_count_the_warm_up(last_warmup_epoch: int, expected: int) -> None:
    assert last_epoch([0.0, 0.2, *[0.1] * 8], 2, last_warmup_epoch) == expected


def test_eight_pictures_learn_although_their_warm_up_takes_as_long_as_patience() -> None:
    """yolov5#5971: one batch an epoch, a warm-up of 100 iterations, the default patience of 100."""
    schedule = TrainingSchedule(Hyperparameters(), Schedule.LINEAR, 1000, batches_per_epoch=1, batch_size=16)
    fitness = [0.0] * 150 + [0.1, 0.3] + [0.2] * 848
    assert last_epoch(fitness, 100, schedule.last_warmup_epoch) == 251
    assert chosen(fitness[:252]) == 151


@pytest.mark.parametrize(
    ("fitness", "epoch"),
    [
        ([0.0, 0.0, 0.0], 2),
        ([0.0, 0.1, 0.0], 1),
        ([0.1, 0.1, 0.0], 0),
        ([0.0, 0.0, math.nan], 1),
        ([math.nan, 0.0, math.nan], 1),
        ([math.nan, math.nan], 1),
        ([math.nan, 1e-12, 0.0, math.nan], 1),
    ],
)
def test_the_best_epoch(fitness: list[float], epoch: int) -> None:
    assert chosen(fitness) == epoch


@given(fitnesses)
def test_the_best_epoch_is_the_fittest_the_earliest_on_a_tie_else_the_newest(fitness: list[float]) -> None:
    fit = [value for value in fitness if value > 0]
    numbers = [epoch for epoch, value in enumerate(fitness) if not math.isnan(value)]
    expected = fitness.index(max(fit)) if fit else (numbers or range(len(fitness)))[-1]
    assert chosen(fitness) == expected


@given(fitnesses, st.integers(0, 5), st.integers(NO_WARMUP, 12))
def test_a_stop_needs_a_fitness_the_warm_up_and_patience(fitness: list[float], patience: int, warmup: int) -> None:
    end = last_epoch(fitness, patience, warmup)
    if end == len(fitness):
        return
    seen = fitness[: end + 1]
    assert max(value for value in seen if not math.isnan(value)) > 0
    assert patience > 0
    assert end - max(warmup, chosen(seen)) == patience


@given(fitnesses, st.integers(0, 29))
def test_a_resumed_run_stops_where_the_whole_one_does(fitness: list[float], cut: int) -> None:
    whole, resumed = EarlyStopping(3), EarlyStopping(3)
    for epoch, value in enumerate(fitness):
        assert whole.record(epoch, value) == resumed.record(epoch, value)
        assert whole.should_stop(epoch, 2) == resumed.should_stop(epoch, 2)
        if epoch == cut:
            document, resumed = resumed.state_dict(), EarlyStopping(3)
            resumed.load_state_dict(document)


@given(fitnesses, st.sampled_from(list(Keep)))
def test_the_store_keeps_the_epoch_that_training_calls_the_best(fitness: list[float], keep: Keep) -> None:
    """With what retention deletes on the way: the last evaluation and best.pt must be of the same weights."""
    stopping, stored = EarlyStopping(0), list[Manifest]()
    for epoch, value in enumerate(fitness):
        is_model = stopping.record(epoch, value) or epoch + 1 == len(fitness)
        names = ["state.pt", "model.pt"] if is_model else ["state.pt"]
        stored.append(
            Manifest(
                attempt=0,
                run=0,
                epoch=epoch,
                step=epoch,
                fitness=None if math.isnan(value) else value,
                created_at=MOMENT,
                files=[StoredFile(name=name, size_bytes=1, sha256=f"{epoch:064}") for name in names],
            )
        )
        gone = superseded(stored, Fence(0, 0), keep, MOMENT + timedelta(days=1))
        stored = [manifest for manifest in stored if manifest not in gone]
        found = best(stored)
        assert found is None or found.epoch == stopping.best_epoch
    assert models_best_first(stored)[0].epoch == stopping.best_epoch


def test_patience_survives_a_restart() -> None:
    stopping = EarlyStopping(patience=3)
    stopping.record(4, 0.7)
    resumed = EarlyStopping(patience=3)
    resumed.load_state_dict(stopping.state_dict())
    assert not resumed.record(5, 0.7)
    assert not resumed.should_stop(6, NO_WARMUP)
    assert resumed.should_stop(7, NO_WARMUP)


def ended_state(fitness: list[float], patience: int = 100, *, early: bool = False) -> TrainingState:
    state = tiny_state()
    state.early_stopping = EarlyStopping(patience)
    for epoch, value in enumerate(fitness):
        state.early_stopping.record(epoch, value)
    state.position, state.stopped_early, state.ended = Position(len(fitness)), early, True
    return state


@pytest.mark.parametrize(
    ("fitness", "early", "last_warmup_epoch", "sentence"),
    [
        ([0.1, 0.3, 0.2], False, 2, "Trained 3 epochs; the best is epoch 1 with fitness 0.3000."),
        (
            [0.0, 0.0],
            False,
            2,
            "Trained 2 epochs; none had a fitness above 0, so best.pt holds the newest weights, those of epoch 1.",
        ),
        (
            [0.1, 0.3, 0.2, 0.2],
            True,
            NO_WARMUP,
            (
                "Trained 4 epochs, stopped early after 2 epochs without a better one, counted from epoch 1, the best; "
                "the best is epoch 1 with fitness 0.3000."
            ),
        ),
        (
            [0.3, 0.1, 0.2, 0.2, 0.2],
            True,
            2,
            (
                "Trained 5 epochs, stopped early after 2 epochs without a better one, counted from epoch 2, the last "
                "of the warm-up; the best is epoch 0 with fitness 0.3000."
            ),
        ),
    ],
)
def test_the_end_is_told(fitness: list[float], early: bool, last_warmup_epoch: int, sentence: str) -> None:
    assert closing_sentence(ended_state(fitness, patience=2, early=early), last_warmup_epoch) == sentence


def restored(folder: Path, state: TrainingState, **changes: Any) -> TrainingState:
    """Another process's state, from this one's checkpoint."""
    context = tiny_context(folder)
    document = capture_state(state, context.ranks, context.config, context.prepared)
    found = tiny_state()
    restore_state({**document, **changes}, found, context.ranks)
    return found


def test_a_checkpoint_brings_the_best_weights(tmp_path: Path) -> None:
    state = replace(ended_state([0.0, 0.2, 0.1]), best=BestModel(1, 0.2, {"weight": torch.ones(1)}))
    found = restored(tmp_path, state)
    assert found.best is not None
    assert (found.best.epoch, found.early_stopping.best_epoch, found.early_stopping.best_fitness) == (1, 1, 0.2)


@pytest.mark.parametrize("best_fitness", [0.0, -1.0])
@pytest.mark.parametrize(("ended", "best_epoch"), [(True, 6), (False, 0)])
def test_without_a_fitness_the_epoch_0_of_an_earlier_version_gives_way(
    tmp_path: Path, best_fitness: float, ended: bool, best_epoch: int
) -> None:
    """It kept the first epoch for good; a run that goes on replaces it at its next epoch, a run that has ended now."""
    state = replace(ended_state([0.0] * 7), best=BestModel(0, 0.0, {"weight": torch.ones(1)}), ended=ended)
    found = restored(tmp_path, state, early_stopping={"best_epoch": 0, "best_fitness": best_fitness})
    assert found.early_stopping.best_epoch == best_epoch
    assert (found.best is None) == ended
    assert not found.early_stopping.has_fitness
    assert found.early_stopping.record(7, 0.0)
