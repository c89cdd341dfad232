"""From a decision to the status that says it: the one place where it is written down.

What was observed stands in the status already (`status.progress`). `Reconciling` and `Stalled` are the conditions that
kstatus reads: a running job is what was asked for, so it is neither.
"""

from collections.abc import Mapping, Sequence
from typing import assert_never

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus, Restarts, State
from masktrain_operator.core import pods
from masktrain_operator.core.attempts import Attempt
from masktrain_operator.core.context import Context
from masktrain_operator.core.decisions import (
    Blocked,
    Complete,
    Continue,
    Decision,
    Failed,
    Finished,
    Restarting,
    Start,
    Waiting,
)
from masktrain_operator.core.lifecycle.restarts import with_new_attempt
from masktrain_operator.core.types import Manifest, Refusal
from masktrain_trainer.config import FailureReason, Keep

from .conditions import is_true, set_condition
from .cost import close_attempt_cost, cost_sentence

_DETAIL = 400
"""Characters of what the scheduler or the kubelet says."""


def waiting_sentence(attempt: Attempt, nodes: int) -> str:
    """How many workers have started, and what keeps the first of the others."""
    started = sum(map(pods.has_started, attempt.pods))
    counted = f"{started} of {nodes} workers of attempt {attempt.number} have started"
    # By name, so that the sentence does not change with the order of a list.
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


def with_decision(
    context: Context, status: MaskTrainingJobStatus, decision: Decision, refusals: Sequence[Refusal] = ()
) -> MaskTrainingJobStatus:
    """The status after `decision`, of whose writes the API server does not take those of `refusals`."""
    status = _with_held_nodes(context, _decided(context, status, decision), decision)
    return _with_refusals(context, status, refusals)


def _with_held_nodes(context: Context, status: MaskTrainingJobStatus, decision: Decision) -> MaskTrainingJobStatus:
    """Since when a pool's nodes are kept for workers that have not all started; a restart in between resets nothing.

    Kept they are also for a job that something stands in the way of, and for one whose old pods do not end.
    """
    capacity = context.observed.capacity
    is_kept = capacity is not None and bool(capacity.reserved)
    match decision:
        case Start() | Waiting() | Blocked():
            holds = is_kept
        case Restarting():
            holds = is_kept or status.node_pool is not None or status.nodes_held_since is not None
        case Continue():
            nodes = context.job.spec.compute.nodes
            started = context.attempt is not None and context.attempt.all_workers_started(nodes)
            holds = status.node_pool is not None and not started
        case _:
            holds = False
    since = (status.nodes_held_since or context.now) if holds else None
    return status.model_copy(update={"nodes_held_since": since})


def _decided(context: Context, status: MaskTrainingJobStatus, decision: Decision) -> MaskTrainingJobStatus:
    match decision:
        case Start():
            status = _started(context, status, decision)
        case Continue():
            status = _starting_or_running(context, status, context.attempt or Attempt(0, None, ()))
        case Waiting(number, reason, message):
            state = State.PENDING if number == 0 else State.RESTARTING
            status = _reconciling(context, _waiting_on(context, status), state, reason, message)
        case Restarting(reason, message, restarts, is_overdue):
            status = _waiting_without(_accounted(status, restarts), restarts)
            status = _waiting_on(context, status) if is_overdue else status
            status = _reconciling(context, status, State.RESTARTING, reason, message)
        case Blocked(reason, message):
            status = _blocked(context, status, reason, message)
        case Complete():
            status = _complete(context, status)
        case Failed(reason, message, restarts):
            status = _failed(context, _accounted(status, restarts), reason, message)
        case Finished():
            pass
        case _:
            assert_never(decision)
    return status


def _started(context: Context, status: MaskTrainingJobStatus, start: Start) -> MaskTrainingJobStatus:
    # An attempt whose Job someone deleted is made again, and not counted twice.
    if start.number != status.attempt:
        status = with_new_attempt(status, start.number, context.now)
    made = {"attempt_uid": None, "node_pool": start.capacity.pool if start.capacity else None}
    status = status.model_copy(update=made)
    return _starting_or_running(context, status, Attempt(start.number, None, ()))


def _starting_or_running(context: Context, status: MaskTrainingJobStatus, attempt: Attempt) -> MaskTrainingJobStatus:
    """`Reconciling` only until all workers have started."""
    nodes = context.job.spec.compute.nodes
    if attempt.all_workers_started(nodes):
        message = f"All {nodes} workers of attempt {attempt.number} run."
        status = _unblocked(context, _waiting_no_more(status))
        return _at_rest(context, status, State.RUNNING, Reason.WORKERS_RUNNING, message)
    state = State.STARTING if attempt.all_workers_scheduled(nodes) else State.PENDING
    # For people: a later attempt that waits is not the same as a job that has not begun.
    state = State.RESTARTING if attempt.number > 0 else state
    message = waiting_sentence(attempt, nodes)
    return _reconciling(context, _waiting_on(context, status), state, Reason.STARTING_WORKERS, message)


def _blocked(context: Context, status: MaskTrainingJobStatus, reason: str, message: str) -> MaskTrainingJobStatus:
    status = _set(context, _waiting_on(context, status), {ConditionType.STALLED: True}, reason, message)
    return _at_rest(context, status, State.PENDING, reason, message)


def _complete(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    status = _without_deleted_checkpoint(context, _unblocked(context, status))
    message = _completion_sentence(status) + cost_sentence(context, status)
    status = _set(context, status, {ConditionType.COMPLETE: True}, Reason.TRAINING_COMPLETE, message)
    return _ended(context, status, State.COMPLETE, message)


def _failed(context: Context, status: MaskTrainingJobStatus, reason: str, message: str) -> MaskTrainingJobStatus:
    """`Stalled` together with `Failed`: it is the one that kstatus knows."""
    status = _set(context, status, {ConditionType.FAILED: True, ConditionType.STALLED: True}, reason, message)
    if reason == FailureReason.INVALID_DATASET:
        status = _set(context, status, {ConditionType.DATASET_VERIFIED: False}, reason, message)
    return _ended(context, status, State.FAILED, message)


def _ended(context: Context, status: MaskTrainingJobStatus, state: State, message: str) -> MaskTrainingJobStatus:
    """No attempt follows, and none is asked for its progress any more."""
    if is_true(status, ConditionType.PROGRESS_UNKNOWN):
        ended = "Training has ended."
        status = _set(context, status, {ConditionType.PROGRESS_UNKNOWN: False}, Reason.FINISHED, ended)
    status = _at_rest(context, _waiting_no_more(status), state, Reason.FINISHED, message)
    restarts = status.restarts.model_copy(update={"retry_time": None})
    return status.model_copy(update={"restarts": restarts, "completion_time": context.now})


def _accounted(status: MaskTrainingJobStatus, restarts: Restarts | None) -> MaskTrainingJobStatus:
    """With the end of an attempt, if this is the plan that has seen it."""
    if restarts is None:
        return status
    return close_attempt_cost(status).model_copy(update={"restarts": restarts})


def _waiting_on(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """For something that is not in the operator's hands, which `limits.startDeadlineSeconds` bounds."""
    return status.model_copy(update={"waiting_since": status.waiting_since or context.now})


def _waiting_without(status: MaskTrainingJobStatus, account: Restarts | None) -> MaskTrainingJobStatus:
    """The wait of an attempt whose workers have never all started goes on, less the operator's own back-off."""
    if status.waiting_since is None or account is None or account.retry_time is None or account.last_failure is None:
        return status
    pause = account.retry_time - account.last_failure.time
    return status.model_copy(update={"waiting_since": status.waiting_since + pause})


def _waiting_no_more(status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    return status.model_copy(update={"waiting_since": None})


def _without_deleted_checkpoint(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """The trainer has deleted the last checkpoint if only the best was to be kept."""
    if context.job.spec.checkpoint.keep is not Keep.BEST:
        return status
    return status.model_copy(update={"checkpoints": status.checkpoints.model_copy(update={"last": None})})


def _completion_sentence(status: MaskTrainingJobStatus) -> str:
    best, progress = status.checkpoints.best, status.progress
    quality = f" with mAP50 {progress.map50}" if progress and progress.map50 else ""
    if is_true(status, ConditionType.BEST_UNKNOWN):
        quality = ", but no epoch had a fitness above 0"
    where = f": {best.uri}" if best else "."
    return f"Training is complete{quality}{where}"


def _with_refusals(
    context: Context, status: MaskTrainingJobStatus, refusals: Sequence[Refusal]
) -> MaskTrainingJobStatus:
    kind = ConditionType.WRITE_REFUSED
    if refusals:
        message = " ".join(refusal.sentence for refusal in refusals)
        return _set(context, status, {kind: True}, refusals[0].reason, message)
    if is_true(status, kind):
        return _set(context, status, {kind: False}, Reason.ACCEPTED, "Nothing is refused any more.")
    return status


def _reconciling(
    context: Context, status: MaskTrainingJobStatus, state: State, reason: Reason, message: str
) -> MaskTrainingJobStatus:
    """On the way to what was asked for, with nothing in the way."""
    status = _set(context, _unblocked(context, status), {ConditionType.RECONCILING: True}, reason, message)
    return status.model_copy(update={"state": state})


def _at_rest(
    context: Context, status: MaskTrainingJobStatus, state: State, reason: str, message: str
) -> MaskTrainingJobStatus:
    """Nothing is under way."""
    status = _set(context, status, {ConditionType.RECONCILING: False}, reason, message)
    return status.model_copy(update={"state": state})


def _unblocked(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    if not is_true(status, ConditionType.STALLED):
        return status
    return _set(context, status, {ConditionType.STALLED: False}, Reason.UNBLOCKED, "Nothing is in the way.")


def _set(
    context: Context, status: MaskTrainingJobStatus, conditions: Mapping[ConditionType, bool], reason: str, message: str
) -> MaskTrainingJobStatus:
    for kind, holds in conditions.items():
        status = set_condition(status, kind, holds, reason=str(reason), message=message, now=context.now)
    return status
