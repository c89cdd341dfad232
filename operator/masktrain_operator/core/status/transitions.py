"""What the status says, after what was observed and after what was decided."""

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus, State
from masktrain_operator.core import pods
from masktrain_operator.core.attempts import Attempt, newest_progress, newest_rank_zero
from masktrain_operator.core.context import Context
from masktrain_operator.core.lifecycle.restarts import record_finality, record_start
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import DatasetSummary, Keep, Phase, Progress

from .conditions import find_condition, is_true, set_condition
from .cost import cost_sentence, with_cost
from .progress import merge_progress

_DETAIL = 400
"""Characters of what the scheduler or the kubelet says."""


def waiting_sentence(attempt: Attempt, nodes: int) -> str:
    """How many workers have started, and what keeps the first of the others."""
    started = sum(map(pods.has_started, attempt.pods))
    counted = f"{started} of {nodes} workers of attempt {attempt.number} have started"
    details = (detail for pod in sorted(attempt.pods, key=pods.name) if (detail := _what_keeps(pod)))
    detail = next(details, None)
    return f"{counted}; {detail[:_DETAIL]}" if detail else f"{counted}."


def _what_keeps(pod: Manifest) -> str | None:
    return None if pods.has_started(pod) else _unschedulable(pod) or _container_waits(pod)


def _unschedulable(pod: Manifest) -> str | None:
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("reason") != "Unschedulable":
        return None
    return f"{pods.name(pod)} cannot be scheduled: {scheduled.get('message', 'the scheduler gives no reason.')}"


def _container_waits(pod: Manifest) -> str | None:
    """Reasons like ImagePullBackOff; ContainerCreating says nothing new."""
    waits = pods.container_status(pod).get("state", {}).get("waiting", {})
    if waits.get("reason") in (None, "ContainerCreating", "PodInitializing"):
        return None
    said = f": {waits['message']}" if waits.get("message") else "."
    return f"{pods.name(pod)}: {waits['reason']}{said}"


def observed_status(situation: Context) -> MaskTrainingJobStatus:
    """The status with all that is seen of an attempt whose end is not accounted for yet."""
    status = observed_generation(situation)
    if situation.attempt is None or situation.attempt_is_accounted:
        return status
    if situation.attempt.number != status.attempt:
        status = started(situation, status, situation.attempt.number)
    said = newest_progress(situation.attempt, situation.observed)
    if said is not None:
        status = _with_said(situation, status, said)
    return with_cost(situation, _with_reachability(situation, status))


def observed_generation(situation: Context) -> MaskTrainingJobStatus:
    """The status last written, as one that answers to the spec as it is now."""
    return situation.status.model_copy(update={"observed_generation": situation.job.metadata.generation})


def started(situation: Context, status: MaskTrainingJobStatus, attempt: int) -> MaskTrainingJobStatus:
    """A new attempt: what the last one was doing and where it came from is no longer true."""
    status = record_start(status, attempt)
    checkpoints = status.checkpoints.model_copy(update={"resumed_from": None, "skipped": []})
    progress = status.progress
    if progress is not None:
        stale = {"phase": Phase.STARTING, "detail": None, "images_per_second": None, "eta_seconds": None}
        progress = progress.model_copy(update=stale)
    start_time = status.start_time or situation.now
    return status.model_copy(update={"checkpoints": checkpoints, "progress": progress, "start_time": start_time})


def starting_or_running(situation: Context, status: MaskTrainingJobStatus, attempt: Attempt) -> MaskTrainingJobStatus:
    """`Reconciling` only until all workers have started: a running job is what was asked for."""
    status = unblocked(situation, status)
    nodes = situation.job.spec.compute.nodes
    if attempt.all_workers_started(nodes):
        message = f"All {nodes} workers of attempt {attempt.number} run."
        return _reconciling(situation, status, State.RUNNING, False, reason=Reason.WORKERS_RUNNING, message=message)
    state = State.STARTING if attempt.all_workers_scheduled(nodes) else State.PENDING
    state = State.RESTARTING if attempt.number > 0 else state
    message = waiting_sentence(attempt, nodes)
    return _reconciling(situation, status, state, True, reason=Reason.STARTING_WORKERS, message=message)


def restarting(
    situation: Context, status: MaskTrainingJobStatus, reason: Reason, message: str
) -> MaskTrainingJobStatus:
    status = unblocked(situation, status)
    return _reconciling(situation, status, State.RESTARTING, True, reason=reason, message=message)


def waiting(
    situation: Context, status: MaskTrainingJobStatus, attempt: int, reason: Reason, message: str
) -> MaskTrainingJobStatus:
    """For nodes: the attempt is not created before they are there."""
    state = State.PENDING if attempt == 0 else State.RESTARTING
    return _reconciling(situation, unblocked(situation, status), state, True, reason=reason, message=message)


def blocked(situation: Context, status: MaskTrainingJobStatus, reason: Reason, message: str) -> MaskTrainingJobStatus:
    """Nothing goes on until a person has acted."""
    status = _set(situation, status, ConditionType.STALLED, True, reason=reason, message=message)
    return _reconciling(situation, status, State.PENDING, False, reason=reason, message=message)


def unblocked(situation: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    if not is_true(status, ConditionType.STALLED):
        return status
    return _set(
        situation, status, ConditionType.STALLED, False, reason=Reason.UNBLOCKED, message="Nothing is in the way."
    )


def complete(situation: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    status = _reachable_no_more(situation, _without_deleted_checkpoint(situation, unblocked(situation, status)))
    message = _completion_sentence(status) + cost_sentence(situation, status)
    status = _set(situation, status, ConditionType.COMPLETE, True, reason=Reason.TRAINING_COMPLETE, message=message)
    status = _reconciling(situation, status, State.COMPLETE, False, reason=Reason.FINISHED, message=message)
    return status.model_copy(update={"completion_time": situation.now})


def _without_deleted_checkpoint(situation: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """The trainer has deleted the last checkpoint if only the best was to be kept."""
    if situation.job.spec.checkpoint.keep is not Keep.BEST:
        return status
    return status.model_copy(update={"checkpoints": status.checkpoints.model_copy(update={"last": None})})


def _reachable_no_more(situation: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """Rank 0 has ended: that it does not answer means nothing any more."""
    kind = ConditionType.PROGRESS_UNKNOWN
    if not is_true(status, kind):
        return status
    return _set(situation, status, kind, False, reason=Reason.FINISHED, message="Training has ended.")


def failed(situation: Context, status: MaskTrainingJobStatus, reason: str, message: str) -> MaskTrainingJobStatus:
    """`Stalled` together with `Failed`: it is the one that kstatus knows."""
    status = record_finality(_reachable_no_more(situation, status))
    for kind in (ConditionType.FAILED, ConditionType.STALLED):
        status = _set(situation, status, kind, True, reason=reason, message=message)
    status = _reconciling(situation, status, State.FAILED, False, reason=Reason.FINISHED, message=message)
    return status.model_copy(update={"completion_time": situation.now})


def _completion_sentence(status: MaskTrainingJobStatus) -> str:
    best, progress = status.checkpoints.best, status.progress
    quality = f" with mAP50 {progress.map50}" if progress and progress.map50 else ""
    where = f": {best.uri}" if best else "."
    return f"Training is complete{quality}{where}"


def _with_said(situation: Context, status: MaskTrainingJobStatus, said: Progress) -> MaskTrainingJobStatus:
    status = merge_progress(status, said)
    if said.dataset is not None:
        sentence = _dataset_sentence(said.dataset)
        status = _set(situation, status, ConditionType.DATASET_VERIFIED, True, reason=Reason.VERIFIED, message=sentence)
    if said.store_error is not None:
        kind, reason = ConditionType.CHECKPOINT_FRESH, Reason.STORE_ERROR
        return _set(situation, status, kind, False, reason=reason, message=said.store_error)
    if said.last is not None:
        sentence = "The newest checkpoint is verified in the store."
        return _set(situation, status, ConditionType.CHECKPOINT_FRESH, True, reason=Reason.STORED, message=sentence)
    return status


def _dataset_sentence(dataset: DatasetSummary) -> str:
    skipped = f"; {dataset.skipped_images} images were skipped" if dataset.skipped_images else ""
    return (
        f"{len(dataset.classes)} classes ({', '.join(dataset.classes)}), {dataset.images} training images with "
        f"{dataset.boxes} boxes, {dataset.validation_images} validation images with {dataset.validation_boxes} boxes"
        f"{skipped}."
    )


def _with_reachability(situation: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """Never a reason to restart: training does not need the operator."""
    kind = ConditionType.PROGRESS_UNKNOWN
    error = situation.observed.progress_error
    if error is not None:
        return _set(situation, status, kind, True, reason=Reason.UNREACHABLE, message=error)
    if find_condition(status, kind) is None or not speaks(situation):
        return status
    return _set(situation, status, kind, False, reason=Reason.REACHABLE, message="Rank 0 answers.")


def speaks(situation: Context) -> bool:
    """Whether rank 0 of the current attempt is there to be asked."""
    pod = newest_rank_zero(situation.attempt.pods) if situation.attempt else None
    return pod is not None and pods.is_ready(pod) and not pods.is_terminal(pod)


def _reconciling(
    situation: Context, status: MaskTrainingJobStatus, state: State, holds: bool, *, reason: Reason, message: str
) -> MaskTrainingJobStatus:
    status = _set(situation, status, ConditionType.RECONCILING, holds, reason=reason, message=message)
    return status.model_copy(update={"state": state})


def _set(
    situation: Context, status: MaskTrainingJobStatus, kind: ConditionType, holds: bool, *, reason: str, message: str
) -> MaskTrainingJobStatus:
    return set_condition(status, kind, holds, reason=str(reason), message=message, now=situation.now)
