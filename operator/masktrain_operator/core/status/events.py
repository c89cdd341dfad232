"""The events of a job: what a person would want to read in `kubectl describe`, found by comparing two statuses."""

from collections.abc import Iterator
from typing import Literal

from masktrain_operator.api.compute import ComputeSpec
from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus, StatusCheckpoint
from masktrain_operator.core.types import Event
from masktrain_trainer.config import plain_text

from .conditions import find_condition, is_true

LONGEST_MESSAGE = 1024
"""Characters that an Event holds."""
MANY_PREEMPTIONS = 5
IN_THE_WAY = (
    Reason.SERVICE_NOT_OURS,
    Reason.NETWORK_POLICY_NOT_OURS,
    Reason.JOB_NOT_OURS,
    Reason.POOL_NOT_FOUND,
    Reason.POOL_TOO_SMALL,
    Reason.SHAPE_NOT_SUPPORTED,
    Reason.INVALID_SPEC,
)


def events_between(
    old: MaskTrainingJobStatus, new: MaskTrainingJobStatus, compute: ComputeSpec | None = None
) -> tuple[Event, ...]:
    """The events that lead from the status last written to `new`, in the order in which a person would tell them.

    `compute`: of the job, if this operator can read it.
    """
    found = (
        _dataset_verified(old, new),
        _skipped(old, new),
        _resumed(old, new),
        _best_checkpoint(old, new),
        _best_unknown(old, new),
        _after_training(old, new),
        _store_failing(old, new),
        _progress_unknown(old, new),
        _attempt_failed(old, new),
        _repeatedly_preempted(old, new),
        _backing_off(old, new),
        _waiting_for_capacity(old, new),
        _attempt_started(old, new, compute),
        _workers_running(old, new),
        _blocked(old, new),
        _write_refused(old, new),
        _complete(old, new),
        _failed(old, new),
    )
    return tuple(event for events in found for event in events)


def _event(kind: Literal["Normal", "Warning"], reason: str, message: str) -> Event:
    return Event(kind, str(reason), plain_text(message, LONGEST_MESSAGE))


def _became_true(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus, kind: ConditionType) -> bool:
    return is_true(new, kind) and not is_true(old, kind)


def _message(status: MaskTrainingJobStatus, kind: ConditionType) -> str:
    found = find_condition(status, kind)
    return found.message if found else ""


def _dataset_verified(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    if _became_true(old, new, ConditionType.DATASET_VERIFIED):
        yield _event("Normal", "DatasetVerified", _message(new, ConditionType.DATASET_VERIFIED))


def _resumed(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    source = new.checkpoints.resumed_from
    if source is not None and source != old.checkpoints.resumed_from:
        message = f"Attempt {new.attempt} goes on from epoch {source.epoch}, step {source.step}: {source.uri}"
        yield _event("Normal", "ResumedFromCheckpoint", message)


def _skipped(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    for sentence in new.checkpoints.skipped:
        if sentence not in old.checkpoints.skipped:
            yield _event("Warning", "CheckpointSkipped", sentence)


def _best_checkpoint(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    """At most once in every tenth of the training: early on, nearly every epoch is the best so far."""
    best, before = _with_fitness(new.checkpoints.best), _with_fitness(old.checkpoints.best)
    # An Event per epoch would bury the others, and each is a write to etcd.
    if best is not None and (before is None or _tenth(new, best.epoch) != _tenth(old, before.epoch)):
        message = f"Epoch {best.epoch} is the best so far with fitness {best.fitness}: {best.uri}"
        yield _event("Normal", "BestCheckpoint", message)


def _with_fitness(checkpoint: StatusCheckpoint | None) -> StatusCheckpoint | None:
    """Without one it is the newest, and the best of nothing."""
    return checkpoint if checkpoint is not None and float(checkpoint.fitness or 0) > 0 else None


def _tenth(status: MaskTrainingJobStatus, epoch: int) -> int:
    epochs = status.progress.epochs if status.progress else 0
    return 10 * epoch // max(epochs, 10)


def _best_unknown(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    if _became_true(old, new, ConditionType.BEST_UNKNOWN):
        yield _event("Warning", Reason.NO_FITNESS, _message(new, ConditionType.BEST_UNKNOWN))


def _after_training(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    """A twin that was refused or a video that was cut off: the training counts all the same, and nobody looks."""
    for kind in (ConditionType.EXPORTED, ConditionType.EVALUATED):
        before, after = (find_condition(status, kind) for status in (old, new))
        if after is not None and after.status == "False" and (before is None or before.message != after.message):
            yield _event("Warning", after.reason, after.message)


def _store_failing(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    before, after = (find_condition(status, ConditionType.CHECKPOINT_FRESH) for status in (old, new))
    if after is not None and after.reason == Reason.STORE_ERROR and (before is None or before.reason != after.reason):
        yield _event("Warning", Reason.STORE_ERROR, after.message)


def _progress_unknown(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    if _became_true(old, new, ConditionType.PROGRESS_UNKNOWN):
        yield _event("Warning", "ProgressUnknown", _message(new, ConditionType.PROGRESS_UNKNOWN))


def _attempt_failed(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    failure = new.restarts.last_failure
    if failure is not None and failure != old.restarts.last_failure:
        message = f"Attempt {failure.attempt} ended ({failure.kind}, {failure.reason}): {failure.message}"
        yield _event("Warning", Reason.ATTEMPT_FAILED, message)


def _repeatedly_preempted(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    before, after = old.restarts.preemptions_without_progress, new.restarts.preemptions_without_progress
    if before < MANY_PREEMPTIONS <= after:
        message = (
            f"{after} attempts were ended by the cluster before they could store a checkpoint: training gets nowhere."
        )
        yield _event("Warning", "RepeatedlyPreempted", message)


def _backing_off(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    failure, retry_time = new.restarts.last_failure, new.restarts.retry_time
    if failure is None or retry_time is None or is_true(new, ConditionType.FAILED):
        return
    seconds = round((retry_time - failure.time).total_seconds())
    if seconds > 0 and retry_time != old.restarts.retry_time:
        yield _event("Normal", Reason.RESTART_BACKOFF, f"Attempt {failure.attempt + 1} starts in {seconds} s.")


def _waiting_for_capacity(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    """Once per reason: the sentences count minutes and name jobs that come and go."""
    before, after = (find_condition(status, ConditionType.RECONCILING) for status in (old, new))
    waits = (Reason.WAITING_FOR_CAPACITY, Reason.WAITING_FOR_NODES)
    if after is not None and after.reason in waits and (before is None or before.reason != after.reason):
        yield _event("Normal", after.reason, after.message)


def _attempt_started(
    old: MaskTrainingJobStatus, new: MaskTrainingJobStatus, compute: ComputeSpec | None
) -> Iterator[Event]:
    if compute is not None and new.attempt is not None and new.attempt != old.attempt:
        size = f"{compute.nodes} nodes with {compute.gpus_per_node} GPUs each"
        yield _event("Normal", "AttemptStarted", f"Attempt {new.attempt}: {size}.")


def _workers_running(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    before, after = (find_condition(status, ConditionType.RECONCILING) for status in (old, new))
    if (
        after is not None
        and after.reason == Reason.WORKERS_RUNNING
        and (before is None or before.reason != after.reason)
    ):
        yield _event("Normal", Reason.WORKERS_RUNNING, after.message)


def _blocked(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    after = find_condition(new, ConditionType.STALLED)
    if after is not None and after.reason in IN_THE_WAY and _became_true(old, new, ConditionType.STALLED):
        yield _event("Warning", after.reason, after.message)


def _write_refused(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    """Once until it goes through: an API server's sentence may hold figures that change with every try."""
    if _became_true(old, new, ConditionType.WRITE_REFUSED):
        yield _event("Warning", "ApplyFailed", _message(new, ConditionType.WRITE_REFUSED))


def _complete(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    if _became_true(old, new, ConditionType.COMPLETE):
        yield _event("Normal", "Complete", _message(new, ConditionType.COMPLETE))


def _failed(old: MaskTrainingJobStatus, new: MaskTrainingJobStatus) -> Iterator[Event]:
    if _became_true(old, new, ConditionType.FAILED):
        found = find_condition(new, ConditionType.FAILED)
        reason = found.reason if found else ""
        yield _event("Warning", "Failed", f"{reason}: {_message(new, ConditionType.FAILED)}")
