"""Learning rates, momentum and gradient accumulation as pure functions of the position in the run.

Nothing is carried from step to step, so a resumed run continues with the same numbers by construction.
"""

import math
from dataclasses import dataclass

from masktrain_trainer.config import Hyperparameters, Schedule


@dataclass(frozen=True)
class StepValues:
    """In force for one iteration (one batch, all ranks)."""

    learning_rates: tuple[float, float, float]
    """Of biases, decayed weights, norm weights."""
    momentum: float
    accumulate: int
    """Iterations that make one optimizer step."""


def accumulation(batch_size: int, nominal_batch_size: int) -> int:
    """Batches whose images come nearest to the nominal batch."""
    # round() takes halves to the even number, as numpy's does in YOLOv5.
    return max(round(nominal_batch_size / batch_size), 1)


@dataclass(frozen=True)
class TrainingSchedule:
    """YOLOv5's warm-up and decay. Iterations count from 0 through the whole run; batch_size is the global one."""

    hyperparameters: Hyperparameters
    shape: Schedule
    epochs: int
    batches_per_epoch: int
    batch_size: int

    @property
    def warmup_iterations(self) -> int:
        by_epochs = round(self.hyperparameters.warmup_epochs * self.batches_per_epoch)
        return max(by_epochs, self.hyperparameters.warmup_min_iterations)

    @property
    def last_warmup_epoch(self) -> int:
        """The epoch in which the warm-up reaches its length; -1 without one. It may lie beyond the last epoch."""
        return math.ceil(self.warmup_iterations / self.batches_per_epoch) - 1

    def at(self, iteration: int) -> StepValues:
        epoch = iteration // self.batches_per_epoch
        if self.is_warmup(iteration):
            return self._warmup(iteration, self.decayed_learning_rate(epoch))
        learning_rate = self._learning_rate_after_warmup(epoch)
        return StepValues(
            learning_rates=(learning_rate, learning_rate, learning_rate),
            momentum=self.hyperparameters.momentum,
            accumulate=accumulation(self.batch_size, self.hyperparameters.nominal_batch_size),
        )

    def is_optimizer_step(self, iteration: int, gathered: int) -> bool:
        """Whether the optimizer steps after this iteration, the `gathered`-th whose gradients it would apply.

        The last batch of an epoch always ends with a step, because checkpoints lie between steps only. YOLOv5 v7.0
        lets an epoch end anywhere and throws away what it has gathered by then.
        """
        return gathered >= self.at(iteration).accumulate or (iteration + 1) % self.batches_per_epoch == 0

    def is_warmup(self, iteration: int) -> bool:
        """The last iteration of the warm-up is the one with this number, so it is one longer than its length."""
        return self.warmup_iterations > 0 and iteration <= self.warmup_iterations

    def decayed_learning_rate(self, epoch: int) -> float:
        """The initial learning rate, decayed to its final fraction over the epochs."""
        last = self.hyperparameters.final_learning_rate_fraction
        progress = epoch / self.epochs
        if self.shape is Schedule.COSINE:
            fraction = (1 - math.cos(progress * math.pi)) / 2 * (last - 1) + 1
        else:
            fraction = (1 - progress) * (1 - last) + last
        return self.hyperparameters.learning_rate * fraction

    def _learning_rate_after_warmup(self, epoch: int) -> float:
        """After the warm-up: YOLOv5 decays at the end of each epoch, so an epoch runs at the value of the one before.

        The epoch in which the warm-up ends keeps the value that the warm-up arrived at.
        """
        warmup_ends_here = self.warmup_iterations > 0 and self.warmup_iterations // self.batches_per_epoch == epoch
        return self.decayed_learning_rate(epoch if warmup_ends_here else max(epoch - 1, 0))

    def _warmup(self, iteration: int, target: float) -> StepValues:
        h = self.hyperparameters
        done = iteration / self.warmup_iterations
        return StepValues(
            learning_rates=(
                _between(h.warmup_bias_learning_rate, target, done),
                _between(0.0, target, done),
                _between(0.0, target, done),
            ),
            momentum=_between(h.warmup_momentum, h.momentum, done),
            accumulate=max(round(_between(1, h.nominal_batch_size / self.batch_size, done)), 1),
        )


def _between(start: float, end: float, fraction: float) -> float:
    return start + (end - start) * fraction
