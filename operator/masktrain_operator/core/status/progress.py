"""What was observed of the attempt in work, in the words of the status: progress, checkpoints, data set, cost.

What follows from it is decided elsewhere, and written down by `transitions`.
"""

from collections.abc import Sequence
from itertools import accumulate

from pydantic import ValidationError

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import (
    MaskTrainingJobStatus,
    StatusCheckpoint,
    StatusCheckpoints,
    StatusDataset,
    StatusLosses,
    StatusProgress,
)
from masktrain_operator.core.attempts import Attempt, newest_progress
from masktrain_operator.core.context import Context
from masktrain_operator.core.lifecycle.restarts import with_new_attempt
from masktrain_operator.core.manifests.credentials import default_auth
from masktrain_trainer.config import CheckpointRef, DatasetSummary, Losses, Progress
from masktrain_trainer.config.explain import first_problem

from .conditions import find_condition, is_finished, is_true, set_condition
from .cost import with_cost, with_reserved_cost

_CLASSES = 2000
_OUTPUTS = 256
_SKIPPED = 10
"""Most class names, files and passed-over checkpoints that the API's schema takes."""
LONGEST_LIST = 32 * 1024
"""Bytes of a list of names in a status. Each job's status is written to etcd again and again, and listed with all."""


def observed_status(context: Context) -> MaskTrainingJobStatus:
    """The status with all that is seen: of an attempt whose end is not accounted for yet, and what nodes cost."""
    auth = default_auth(context.job) or context.status.store_auth
    seen = {"observed_generation": context.job.metadata.generation, "store_auth": auth}
    status = context.status.model_copy(update=seen)
    if is_finished(status):
        return status
    return with_reserved_cost(context, _with_attempt(context, status))


def _with_attempt(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    if context.attempt is None or context.attempt_is_accounted:
        return status
    if context.attempt.number != status.attempt:
        # Its Job was created by an operator that died before it could write so.
        status = with_new_attempt(status, context.attempt.number, context.now)
    if context.attempt.job is not None:
        status = status.model_copy(update={"attempt_uid": context.attempt.job["metadata"]["uid"]})
    said, error = newest_progress(context.attempt, context.observed), context.observed.progress_error
    if said is not None:
        try:
            status = _with_said(context, status, said)
        # Limits, deadlines and the end of the job must not hang on what a pod says.
        except ValidationError as problem:
            error = f"What rank 0 says does not fit a status: {first_problem(problem)}."
    return with_cost(context, _with_reachability(context, context.attempt, status, error))


def _with_said(context: Context, status: MaskTrainingJobStatus, said: Progress) -> MaskTrainingJobStatus:
    status = _with_model_warning(context, merge_progress(status, said), said)
    now = context.now
    for kind, step in ((ConditionType.EXPORTED, said.exported), (ConditionType.EVALUATED, said.evaluated)):
        if step is not None:
            status = set_condition(status, kind, step.done, reason=step.reason, message=step.message, now=now)
    if said.dataset is not None:
        kind, sentence = ConditionType.DATASET_VERIFIED, _dataset_sentence(said.dataset)
        status = set_condition(status, kind, True, reason=Reason.VERIFIED, message=sentence, now=now)
    kind = ConditionType.CHECKPOINT_FRESH
    if said.store_error is not None:
        return set_condition(status, kind, False, reason=Reason.STORE_ERROR, message=said.store_error, now=now)
    if said.last is not None:
        sentence = "The newest checkpoint is verified in the store."
        return set_condition(status, kind, True, reason=Reason.STORED, message=sentence, now=now)
    return status


def _with_model_warning(context: Context, status: MaskTrainingJobStatus, said: Progress) -> MaskTrainingJobStatus:
    """Only an end without a fitness says it: early in a training it means nothing."""
    kind, now = ConditionType.BEST_UNKNOWN, context.now
    if (warning := said.model_warning) is not None:
        return set_condition(status, kind, True, reason=Reason.NO_FITNESS, message=warning, now=now)
    # Of an attempt that ended without one, and was followed by another that trained on.
    if is_true(status, kind) and said.best is not None and said.best.fitness:
        sentence = "The fittest epoch is known."
        return set_condition(status, kind, False, reason=Reason.FITNESS_FOUND, message=sentence, now=now)
    return status


def _dataset_sentence(dataset: DatasetSummary) -> str:
    skipped = f"; {dataset.skipped_images} images were skipped" if dataset.skipped_images else ""
    rows = sum(split.dropped_rows for split in dataset.splits)
    labels = sum(split.label_without_image for split in dataset.splits)
    dropped = f"; {rows} label rows were dropped" if rows else ""
    orphans = f"; {labels} labels have no image" if labels else ""
    names = ", ".join(_bounded(dataset.classes, _CLASSES))
    return (
        f"{len(dataset.classes)} classes ({names}), {dataset.images} training images with "
        f"{dataset.boxes} boxes, {dataset.validation_images} validation images with {dataset.validation_boxes} boxes"
        f"{skipped}{dropped}{orphans}."
    )


def _with_reachability(
    context: Context, attempt: Attempt, status: MaskTrainingJobStatus, error: str | None
) -> MaskTrainingJobStatus:
    """Never a reason to restart: training does not need the operator."""
    kind = ConditionType.PROGRESS_UNKNOWN
    if error is not None:
        return set_condition(status, kind, True, reason=Reason.UNREACHABLE, message=error, now=context.now)
    # Between two attempts nobody is asked: only an answer takes the condition back.
    if find_condition(status, kind) is None or not attempt.is_answering:
        return status
    return set_condition(status, kind, False, reason=Reason.REACHABLE, message="Rank 0 answers.", now=context.now)


def merge_progress(status: MaskTrainingJobStatus, said: Progress) -> MaskTrainingJobStatus:
    """What the trainer does not say (yet) stays as it is: an attempt that only starts knows no checkpoint."""
    known = status.checkpoints
    checkpoints = StatusCheckpoints(
        best=_checkpoint(said.best) or known.best,
        last=_checkpoint(said.last) or known.last,
        resumed_from=_checkpoint(said.resumed_from) or known.resumed_from,
        skipped=_bounded(said.skipped_checkpoints, _SKIPPED) or known.skipped,
    )
    dataset = _dataset(said.dataset) or status.dataset
    outputs = _bounded(said.outputs, _OUTPUTS) or status.outputs
    update = {
        "progress": _progress(said, status.progress),
        "checkpoints": checkpoints,
        "dataset": dataset,
        "outputs": outputs,
    }
    return status.model_copy(update=update)


def _progress(said: Progress, known: StatusProgress | None) -> StatusProgress:
    """Last words may be cut short, or come from a container that found everything done: figures stay."""
    told = _told(said)
    if said.outcome is None or known is None:
        return told
    figures = {
        "epoch": max(told.epoch, known.epoch),
        "step": max(told.step, known.step),
        "losses": told.losses or known.losses,
        "map50": told.map50 or known.map50,
        "map50_95": told.map50_95 or known.map50_95,
    }
    return told.model_copy(update=figures)


def _told(said: Progress) -> StatusProgress:
    return StatusProgress(
        phase=said.phase,
        detail=said.detail or None,
        epoch=said.epoch,
        epochs=said.epochs,
        step=said.step,
        images_per_second=_decimal(said.images_per_second, ".1f"),
        eta_seconds=said.eta_seconds,
        losses=_losses(said.losses),
        map50=_decimal(said.map50, ".4f"),
        map50_95=_decimal(said.map50_95, ".4f"),
        updated_at=said.updated_at,
    )


def _losses(losses: Losses | None) -> StatusLosses | None:
    if losses is None:
        return None
    return StatusLosses(
        box=f"{losses.box:.5g}", objectness=f"{losses.objectness:.5g}", classification=f"{losses.classification:.5g}"
    )


def _checkpoint(reference: CheckpointRef | None) -> StatusCheckpoint | None:
    if reference is None:
        return None
    return StatusCheckpoint(
        uri=reference.uri,
        sha256=reference.sha256,
        size_bytes=reference.size_bytes,
        epoch=reference.epoch,
        step=reference.step,
        fitness=_decimal(reference.fitness, ".4f"),
        verified_at=reference.verified_at,
    )


def _dataset(summary: DatasetSummary | None) -> StatusDataset | None:
    if summary is None:
        return None
    return StatusDataset(
        classes=_bounded(summary.classes, _CLASSES),
        images=summary.images,
        boxes=summary.boxes,
        validation_images=summary.validation_images,
        validation_boxes=summary.validation_boxes,
        skipped_images=summary.skipped_images,
    )


def _bounded(texts: Sequence[str], most: int) -> list[str]:
    """The first of them, as many as have room."""
    sizes = accumulate(len(text.encode()) for text in texts)
    return [text for text, size in zip(texts[:most], sizes, strict=False) if size <= LONGEST_LIST]


def _decimal(number: float | None, form: str) -> str | None:
    # Rounded before it is compared: a status must not be another one for noise in the last digits.
    return None if number is None else format(number, form)
