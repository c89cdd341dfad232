"""The training itself: epochs of batches, a validation after each, checkpoints between steps, until nothing is left.

Readable from top to bottom; what a step, a validation or a checkpoint is stands in modules of their own.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum, auto
from typing import cast

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.config import Losses, Outcome, Phase
from masktrain_trainer.data.loader import TrainLoader
from masktrain_trainer.data.sampler import count_boxes, image_weights
from masktrain_trainer.errors import Diverged, NoFitness, UserError
from masktrain_trainer.files import write_news
from masktrain_trainer.heartbeat import Activity
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.report import tables
from masktrain_trainer.run_directory import RunDirectory, TrainingProgress

from .checkpoints import CheckpointClock, hand_over, is_periodic
from .distributed import StepConsensus, StepRequests
from .evaluate_best import evaluate_best, fitness_warning
from .initialise import compile_model
from .optimizer import apply_step_values
from .schedule import TrainingSchedule
from .state import BestModel, Context, TrainingState, capture_state, half_precision_copy
from .step import SKIPPED_IN_A_ROW, BadLoss, LossWatch, MultiScale, TrainStep, tried_convolutions
from .validation import Validation, Validator

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
        write_news(self._run.progress, progress.to_json())


def as_losses(items: Sequence[float]) -> Losses:
    """Box, objectness, class."""
    return Losses(box=items[0], objectness=items[1], classification=items[2])


log = logging.getLogger(__name__)


class Interruption(Enum):
    STOP = auto()
    DIVERGENCE = auto()


class Training:
    """One run of a training on this rank, from `state` to its end or to an interruption."""

    def __init__(self, context: Context, state: TrainingState, loader: TrainLoader) -> None:
        self._context, self._state, self._loader = context, state, loader
        spec, ranks = context.training, context.ranks
        self._loss = DetectionLoss(
            state.model.anchors,
            context.hyperparameters,
            image_size=spec.image_size,
            num_classes=len(context.prepared.names),
        ).to(ranks.device)
        self._activity = Activity.STARTING if spec.compile else Activity.TRAINING
        """Compiling happens in the first batch, and may take longer than any step."""
        if spec.compile:
            compile_model(state.model, ranks.device)
        self._step = TrainStep(ranks, context.format, state, self._loss)
        self._consensus = StepConsensus(ranks.control, ranks.world_size)
        self._validator = Validator(context, self._loss, self._consensus)
        self._schedule = TrainingSchedule(
            context.hyperparameters, spec.schedule, spec.epochs, loader.batches_per_epoch, spec.batch_size
        )
        stride = context.config.model.architecture.max_stride
        self._sizes = MultiScale(spec.image_size, stride, spec.seed) if spec.multi_scale else None
        classes = len(context.prepared.names)
        self._boxes_NC = count_boxes(context.prepared.train, classes) if spec.image_weights else None
        self._clock = CheckpointClock(context.config.checkpoint.interval_seconds)
        self._watch = LossWatch(
            [image.name for image in context.prepared.train.images],
            tolerated=SKIPPED_IN_A_ROW if state.scaler.is_enabled() else 0,
        )
        self._pace = Pace(spec.batch_size, loader.batches_per_epoch, spec.epochs)
        self._progress = ProgressWriter(context.run)
        self._epoch_losses: Sequence[float] | None = None

    def run(self) -> Outcome:
        """Train what is left. Raises UserError if the loss is no longer a number, or if no epoch had a fitness where
        one is required; all ranks end alike.
        """
        while not self._state.ended:
            # Validation's rectangles are of many shapes.
            with tried_convolutions(self._sizes is None):
                interruption = self._train_epoch()
            interruption = interruption or self._close_epoch()
            if interruption is Interruption.DIVERGENCE:
                raise self._divergence()
            if interruption is Interruption.STOP:
                return self._stop()
        if self._context.training.require_fitness and (warning := self._fitness_warning()):
            raise NoFitness(f"training.requireFitness is not met: {warning}")
        # With the longer limit: rank 0 loads and sends the best weights before a batch of the evaluation beats.
        self._context.heartbeat.beat(Activity.SAVING)
        if (validation := evaluate_best(self._context, self._state, self._validator)) is not None:
            self._state.metrics = validation.metrics.named()
            self._report(Phase.VALIDATING, self._epoch_losses)
        return Outcome.complete(closing_sentence(self._state, self._schedule.last_warmup_epoch))

    def _train_epoch(self) -> Interruption | None:
        """Train the rest of the epoch in work; its last batch always ends with an optimizer step."""
        position, per_epoch = self._state.position, self._loader.batches_per_epoch
        self._pace.start_epoch()
        if self._boxes_NC is not None:
            # Before the first validation every class counts as not found.
            self._loader.weigh(image_weights(self._boxes_NC, self._state.class_map or [0.0] * self._boxes_NC.shape[1]))
        gathered = 0
        for batch in self._loader.batches(position.epoch, position.batch):
            self._context.heartbeat.beat(self._activity)
            iteration = position.epoch * per_epoch + position.batch
            # At every iteration and not at every step: the warm-up goes by iterations, as in v7.0.
            apply_step_values(self._state.optimizer, self._schedule.at(iteration))
            gathered += 1
            steps = self._schedule.is_optimizer_step(iteration, gathered)
            size = self._sizes.at(iteration) if self._sizes else None
            items_3 = self._step.backward(batch, synchronise=steps, image_size=size)
            self._activity = Activity.TRAINING
            # On the device: to read the numbers here would wait for the GPU at every batch.
            self._state.loss_sums_3 += items_3.nan_to_num(0.0, 0.0, 0.0)  # a bad one is for the watch
            position.batch += 1
            self._watch.watch(items_3, batch.indices_B, step=position.step, epoch=position.epoch)
            self._report_batch()
            if steps:
                gathered = 0
                self._step.step()
                position.step += 1
                if interruption := self._act_on_requests():
                    return interruption
        return None

    def _act_on_requests(self) -> Interruption | None:
        """Between two optimizer steps: what all ranks agreed on at the step before."""
        requests = StepRequests(
            stop=self._context.run.stop.exists(),
            diverged=self._watch.look() is not None,
            # One clock for all, or each rank would ask for checkpoints at moments of its own.
            checkpoint=self._context.ranks.leads and self._clock.due(),
        )
        agreed = self._consensus.exchange(requests)
        # First: a stop would store weights that are of no use any more.
        if agreed.diverged:
            return Interruption.DIVERGENCE
        if agreed.stop:
            return Interruption.STOP
        if agreed.checkpoint:
            self._save("interval")
        return None

    def _close_epoch(self) -> Interruption | None:
        """Validate the averaged weights, record the epoch and take a checkpoint."""
        # The last losses may still be on their way from the device, and weights that they show to be NaN are not worth
        # a validation.
        bad = self._watch.look(wait=True) is not None
        if any(self._context.ranks.gather(bad)):
            return Interruption.DIVERGENCE
        # An agreed checkpoint needs no answer here: the epoch's own follows.
        if self._consensus.take_agreed().stop:
            return Interruption.STOP
        losses = self._epoch_losses = self._mean_train_losses()
        self._report(Phase.VALIDATING, losses)
        validation = self._validator.run(self._averaged_model())
        if validation is None:
            return Interruption.STOP
        self._pace.validation_seconds = validation.seconds
        is_best = self._record(validation, losses)
        self._report(Phase.VALIDATING if self._state.ended else Phase.TRAINING, losses)
        # After `_record`: a run that goes on from it has the results of this epoch, and begins with the next.
        self._save("final" if self._state.ended else "epoch", fitness=validation.metrics.fitness, is_best=is_best)
        return None

    def _averaged_model(self) -> Yolo:
        """The EMA, equal on all ranks: rank 0 keeps it, the others receive it when it is needed."""
        ema = self._state.ema.module
        self._context.ranks.broadcast_tensors([*ema.parameters(), *ema.buffers()])
        return cast("Yolo", ema)

    def _record(self, validation: Validation, train_losses: Sequence[float]) -> bool:
        """Enter the epoch into results.csv, metrics and early stopping, alike on all ranks; whether its
        weights are best.pt so far.
        """
        state, metrics = self._state, validation.metrics
        epoch = state.position.epoch
        result = tables.EpochResult(
            epoch=epoch,
            train_losses=train_losses,
            precision=metrics.precision,
            recall=metrics.recall,
            map50=metrics.map50,
            map50_95=metrics.map50_95,
            val_losses=validation.losses,
            learning_rates=[group["lr"] for group in state.optimizer.param_groups],
        )
        state.results_csv = tables.append_result(state.results_csv, result)
        state.metrics = metrics.named()
        state.class_map = metrics.class_map(len(self._context.prepared.names))
        is_best = state.early_stopping.record(epoch, metrics.fitness)
        if is_best and self._context.ranks.leads:
            state.best = BestModel(epoch, metrics.fitness, half_precision_copy(state.ema.module))
        self._log_epoch(result, is_best and state.early_stopping.has_fitness)
        self._advance(epoch)
        return is_best

    def _advance(self, epoch: int) -> None:
        state = self._state
        last = epoch + 1 >= self._context.training.epochs
        state.stopped_early = not last and state.early_stopping.should_stop(epoch, self._schedule.last_warmup_epoch)
        state.ended = last or state.stopped_early
        state.position.next_epoch()
        state.loss_sums_3.zero_()

    def _mean_train_losses(self) -> list[float]:
        """Over the batches of the epoch and the ranks."""
        ranks = self._context.ranks
        # Of a copy, since the sum is made in place: a stop during the validation stores this rank's own.
        sums_3 = ranks.sum(self._state.loss_sums_3.clone())
        means: list[float] = (sums_3 / (self._loader.batches_per_epoch * ranks.world_size)).tolist()
        return means

    def _save(self, reason: str, *, fitness: float | None = None, is_best: bool = False) -> bool:
        """All ranks take part; rank 0 knows whether it worked.

        Weights that hold NaN or infinity are never saved; the loss shows them a moment later and ends the training.
        """
        context, state = self._context, self._state
        if not state.is_finite():
            return False
        # From the start of the copy: the interval is between states, however long storing them takes.
        self._clock.restart()
        context.heartbeat.beat(Activity.SAVING)
        document = capture_state(state, context.ranks, context.config, context.prepared)
        if context.ranks.leads:
            # A validated epoch is over: the position is at the start of the next one already.
            epoch = state.position.epoch - (1 if fitness is not None else 0)
            meta = SnapshotMeta(
                epoch=epoch,
                step=state.position.step,
                fitness=fitness,
                is_best=is_best,
                reason=reason,
                periodic=fitness is not None and is_periodic(epoch, context.training.save_period),
            )
            return hand_over(context.spool, document, meta)
        return True

    def _stop(self) -> Outcome:
        position = self._state.position
        self._report(Phase.TRAINING, self._own_losses())
        if not self._save("stop"):
            return Outcome.crashed(
                "CheckpointNotSaved", f"Stopped on request at step {position.step}, but without a checkpoint."
            )
        return Outcome.stopped(
            f"Stopped on request in epoch {position.epoch} at step {position.step}; the state is saved."
        )

    def _divergence(self) -> UserError:
        """The earliest bad loss of all ranks, the same error on each of them."""
        own = None if self._watch.bad is None else asdict(self._watch.bad)
        found = [BadLoss(**bad) for bad in self._context.ranks.gather(own) if bad is not None]
        return Diverged(min(found, key=lambda bad: bad.step).sentence())

    def _report_batch(self) -> None:
        """At most once a second: reading the losses waits for the device."""
        self._pace.add_batch()
        if self._context.ranks.leads and self._progress.due():
            self._report(Phase.TRAINING, self._own_losses())

    def _own_losses(self) -> list[float]:
        """Means of this rank over the epoch so far."""
        means: list[float] = (self._state.loss_sums_3 / max(1, self._state.position.batch)).tolist()
        return means

    def _report(self, phase: Phase, losses: Sequence[float] | None) -> None:
        if not self._context.ranks.leads:
            return
        spec, state = self._context.training, self._state
        position = state.position
        self._progress.write(
            TrainingProgress(
                phase=phase,
                epoch=position.epoch,
                epochs=spec.epochs,
                batch=position.batch,
                batches=self._loader.batches_per_epoch,
                step=position.step,
                images_per_second=self._pace.images_per_second,
                eta_seconds=0 if state.ended else self._pace.eta_seconds(position.epoch, position.batch),
                losses=as_losses(losses) if losses is not None else None,
                map50=state.metrics.get("mAP50"),
                map50_95=state.metrics.get("mAP50_95"),
                stopped_early=state.stopped_early,
                fitness_warning=self._fitness_warning() if state.ended else None,
            )
        )

    def _log_epoch(self, result: tables.EpochResult, is_best: bool) -> None:
        box, objectness, classification = result.train_losses
        log.info(
            "epoch %d/%d  box %.4f  obj %.4f  cls %.4f  P %.3f  R %.3f  mAP50 %.3f  mAP50-95 %.3f  %.1f images/s%s",
            *(result.epoch, self._context.training.epochs - 1, box, objectness, classification),
            *(result.precision, result.recall, result.map50, result.map50_95),
            *(self._pace.images_per_second or 0.0, "  best" if is_best else ""),
        )

    def _fitness_warning(self) -> str | None:
        return fitness_warning(self._context.prepared.val, self._state)


def closing_sentence(state: TrainingState, last_warmup_epoch: int) -> str:
    """How far the training came, why it ended, and which epoch best.pt is of."""
    stopping = state.early_stopping
    trained = f"Trained {state.position.epoch} epochs"
    if not stopping.has_fitness:
        newest = f"best.pt holds the newest weights, those of epoch {stopping.best_epoch}"
        return f"{trained}; none had a fitness above 0, so {newest}."
    best = f"the best is epoch {stopping.best_epoch} with fitness {stopping.best_fitness:.4f}."
    if not state.stopped_early:
        return f"{trained}; {best}"
    since = stopping.counts_from(last_warmup_epoch)
    why = "the best" if since == stopping.best_epoch else "the last of the warm-up"
    patience = f"{stopping.patience} epochs without a better one, counted from epoch {since}, {why}"
    return f"{trained}, stopped early after {patience}; {best}"
