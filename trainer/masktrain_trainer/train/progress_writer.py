"""Rank 0's running account of the training, for the supervisor: at most one small file a second."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from masktrain_trainer.config import Losses

from .run_directory import RunDirectory, write_atomically
from .training_progress import TrainingProgress

_SHORTEST_PAUSE_SECONDS = 1.0


@dataclass
class Pace:
    """Training speed of the epoch in work, and what is left to do at that speed."""

    batch_size: int
    batches_per_epoch: int
    epochs: int
    clock: Callable[[], float] = time.monotonic
    images_per_second: float | None = None
    validation_seconds: float = 0.0

    def __post_init__(self) -> None:
        self.start_epoch()

    def start_epoch(self) -> None:
        self._started, self._batches = self.clock(), 0

    def add_batch(self) -> None:
        self._batches += 1
        elapsed = self.clock() - self._started
        if elapsed > 0:
            self.images_per_second = self._batches * self.batch_size / elapsed

    def eta_seconds(self, epoch: int, batch: int) -> int | None:
        """Seconds to the end of the last epoch, validations included; early stopping is not foreseen."""
        if not self.images_per_second:
            return None
        epochs = self.epochs - epoch
        images = (epochs * self.batches_per_epoch - batch) * self.batch_size
        return round(images / self.images_per_second + epochs * self.validation_seconds)


class ProgressWriter:
    """`due` is asked before the losses are read from the device, since that waits for it."""

    def __init__(self, run: RunDirectory, clock: Callable[[], float] = time.monotonic) -> None:
        self._run = run
        self._clock = clock
        self._written = -_SHORTEST_PAUSE_SECONDS

    def due(self) -> bool:
        return self._clock() - self._written >= _SHORTEST_PAUSE_SECONDS

    def write(self, progress: TrainingProgress) -> None:
        self._written = self._clock()
        write_atomically(self._run.progress, progress.to_json())


def as_losses(items: Sequence[float]) -> Losses:
    """Box, objectness, class."""
    return Losses(box=items[0], objectness=items[1], classification=items[2])
