"""Interval, pace and remaining time, by a clock of the test's own."""

from pathlib import Path

import pytest

from masktrain_trainer.config import Phase
from masktrain_trainer.run_directory import RunDirectory, TrainingProgress, read_document
from masktrain_trainer.train.checkpoints import CheckpointClock, is_periodic
from masktrain_trainer.train.loop import Pace, ProgressWriter, as_losses
from tests.conftest import fill


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_checkpoint_is_due_once_per_interval() -> None:
    clock = Clock()
    interval = CheckpointClock(10, clock)
    clock.now = 9.9
    assert not interval.due()
    clock.now = 10
    assert interval.due()
    assert not interval.due()
    clock.now = 15
    interval.restart()
    clock.now = 24
    assert not interval.due()


@pytest.mark.parametrize(("save_period", "kept"), [(0, []), (1, [0, 1, 2, 3, 4, 5, 6]), (3, [0, 3, 6]), (10, [0])])
def test_every_so_many_epochs_a_checkpoint_is_kept(save_period: int, kept: list[int]) -> None:
    assert [epoch for epoch in range(7) if is_periodic(epoch, save_period)] == kept


def test_the_remaining_time_counts_validations() -> None:
    clock = Clock()
    pace = Pace(batch_size=8, batches_per_epoch=10, epochs=3, clock=clock)
    assert pace.eta_seconds(0, 0) is None
    clock.now = 2.0
    for _ in range(5):
        pace.add_batch()
    pace.validation_seconds = 4.0
    assert pace.images_per_second == 20
    assert pace.eta_seconds(epoch=1, batch=5) == round(15 * 8 / 20 + 2 * 4)


def test_progress_is_due_once_a_second(tmp_path: Path) -> None:
    clock = Clock()
    writer = ProgressWriter(RunDirectory(tmp_path), clock)
    assert writer.due()
    writer._written = 5.0
    clock.now = 5.9
    assert not writer.due()
    clock.now = 6.0
    assert writer.due()


def test_progress_that_finds_no_room_on_the_disk_ends_no_training(small_disk: Path) -> None:
    run = RunDirectory(small_disk / "run")
    run.create()
    writer = ProgressWriter(run, Clock())
    before, after = (TrainingProgress(phase=Phase.TRAINING, epoch=1, epochs=2, step=step) for step in (3, 4))
    writer.write(before)
    fill(small_disk)
    writer.write(after)
    assert read_document(run.progress, TrainingProgress) == before


def test_losses_come_in_yolov5s_order() -> None:
    losses = as_losses([1.0, 2.0, 3.0])
    assert (losses.box, losses.objectness, losses.classification) == (1.0, 2.0, 3.0)
