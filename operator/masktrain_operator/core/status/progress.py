"""From what the trainer says to what the status says."""

from masktrain_operator.api.status import (
    MaskTrainingJobStatus,
    StatusCheckpoint,
    StatusCheckpoints,
    StatusDataset,
    StatusLosses,
    StatusProgress,
)
from masktrain_trainer.config import CheckpointRef, DatasetSummary, Losses, Progress

_CLASSES = 2000
_OUTPUTS = 256
_SKIPPED = 10
"""Most class names, files and passed-over checkpoints that the API's schema takes."""


def merge_progress(status: MaskTrainingJobStatus, said: Progress) -> MaskTrainingJobStatus:
    """What the trainer does not say (yet) stays as it is: an attempt that only starts knows no checkpoint."""
    known = status.checkpoints
    checkpoints = StatusCheckpoints(
        best=_checkpoint(said.best) or known.best,
        last=_checkpoint(said.last) or known.last,
        resumed_from=_checkpoint(said.resumed_from) or known.resumed_from,
        skipped=said.skipped_checkpoints[:_SKIPPED] or known.skipped,
    )
    dataset = _dataset(said.dataset) or status.dataset
    outputs = said.outputs[:_OUTPUTS] or status.outputs
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
        classes=summary.classes[:_CLASSES],
        images=summary.images,
        boxes=summary.boxes,
        validation_images=summary.validation_images,
        validation_boxes=summary.validation_boxes,
        skipped_images=summary.skipped_images,
    )


def _decimal(number: float | None, form: str) -> str | None:
    return None if number is None else format(number, form)
