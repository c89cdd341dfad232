"""Whether another attempt follows and when it starts, and the account of a job's attempts that decides it.

Progress is a newer verified checkpoint than there was when the attempt started: steps that were not stored are lost
with the attempt. After progress the next attempt starts at once, if the last one lived for ten seconds. Without it the
attempts move apart, and those that crashed or hung are charged to the restart budget,
`limits.maxRestartsWithoutProgress`. Preemptions never are.

An attempt starts once nothing of the old gang can write or hold a GPU, and not before its back-off is over.
"""

from collections.abc import Iterator
from datetime import datetime

from masktrain_operator.api.conditions import FailureKind, Reason
from masktrain_operator.api.status import LastFailure, MaskTrainingJobStatus, Restarts
from masktrain_operator.core import pods
from masktrain_operator.core.attempts import gang_is_gone
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import (
    FIRST_BACKOFF,
    LONGEST_BACKOFF,
    back_off,
    backoff,
    forced_end,
    held,
    held_refusals,
    verdict_of,
)
from masktrain_operator.core.decisions import Blocked, Failed, Restarting, Start, Waiting
from masktrain_operator.core.manifests.credentials import closed_mirror, missing_region, outdated_image
from masktrain_operator.core.manifests.metadata import attempt_name
from masktrain_operator.core.times import parse_time
from masktrain_trainer.config import Phase

from .causes import Cause

CHARGED = (FailureKind.HUNG, FailureKind.CRASHED)
PREEMPTIONS = (FailureKind.PREEMPTED, FailureKind.STOPPED, FailureKind.FENCED)
"""Nobody's fault: they move the next attempt away, and never end the job."""


PRICE_UNKNOWN = (
    "limits.maxCost is set, but what the nodes cost is not known: use a GPUNodePool whose shape has a list price, "
    "or set its hourlyPrice."
)


def after_end(context: Context, status: MaskTrainingJobStatus, attempt: int, cause: Cause) -> Restarting | Failed:
    """What follows the end of that attempt, which `status` does not account for yet."""
    restarts = _not_before(_next_start(context), with_failure(status, attempt, cause, context.now))
    allowed = context.job.spec.limits.max_restarts_without_progress
    if cause.kind == FailureKind.USER_ERROR:
        return Failed(cause.reason, cause.message, restarts)
    # Crashes are counted, restarts allowed: one too many is the crash after the last allowed restart.
    if restarts.without_progress > allowed:
        message = (
            f"{restarts.without_progress} attempts without a newer checkpoint, limits.maxRestartsWithoutProgress "
            f"allows {allowed} restarts; the last one ({cause.reason}): {cause.message}"
        )
        return Failed(Reason.RESTART_BUDGET_EXHAUSTED, message, restarts)
    return Restarting(Reason.ATTEMPT_FAILED, f"Attempt {attempt} ended: {cause.message}", restarts)


def _next_start(context: Context) -> datetime | None:
    """Attempts that begin more often train nothing, however new the checkpoints that they report."""
    job = context.attempt.job if context.attempt else None
    created = job["metadata"].get("creationTimestamp") if job else None
    return parse_time(created) + FIRST_BACKOFF if created else None


def _not_before(moment: datetime | None, restarts: Restarts) -> Restarts:
    if moment is None or restarts.retry_time is None or moment <= restarts.retry_time:
        return restarts
    return restarts.model_copy(update={"retry_time": moment})


def with_failure(status: MaskTrainingJobStatus, attempt: int, cause: Cause, now: datetime) -> Restarts:
    """The account with the end of an attempt; its last checkpoint has to stand in the status."""
    before = status.restarts
    # By the step in the store and not by the one trained: what was not stored is trained again.
    progressed = newest_step(status) > before.step_at_start
    crashes = 0 if progressed else before.without_progress + int(cause.kind in CHARGED)
    preemptions = 0 if progressed else before.preemptions_without_progress + int(cause.kind in PREEMPTIONS)
    return Restarts(
        total=before.total,
        without_progress=crashes,
        preemptions_without_progress=preemptions,
        step_at_start=before.step_at_start,
        last_failure=LastFailure(
            attempt=attempt, kind=cause.kind.value, reason=cause.reason, message=cause.message, time=now
        ),
        retry_time=now + backoff(crashes + preemptions),
    )


def with_new_attempt(status: MaskTrainingJobStatus, attempt: int, now: datetime) -> MaskTrainingJobStatus:
    """From here on the attempt's progress counts; what the last one did and where it came from is no longer true."""
    # Derived from the number and not counted up: planning the same attempt twice must not add a restart.
    restarts = {"total": attempt, "step_at_start": newest_step(status), "retry_time": None}
    progress = status.progress
    if progress is not None:
        stale = {"phase": Phase.STARTING, "detail": None, "images_per_second": None, "eta_seconds": None}
        progress = progress.model_copy(update=stale)
    return status.model_copy(
        update={
            "attempt": attempt,
            "attempt_uid": None,
            "restarts": status.restarts.model_copy(update=restarts),
            "checkpoints": status.checkpoints.model_copy(update={"resumed_from": None, "skipped": []}),
            "progress": progress,
            "start_time": status.start_time or now,
        }
    )


def newest_step(status: MaskTrainingJobStatus) -> int:
    """Step of the newest verified checkpoint, 0 without one."""
    last = status.checkpoints.last
    return last.step if last else 0


def launch(
    context: Context, status: MaskTrainingJobStatus, number: int
) -> Start | Waiting | Restarting | Blocked | Failed:
    """Whether the Job of attempt `number` may be created, or what it waits for."""
    if (hold := held(back_off(status), context.now, LONGEST_BACKOFF)) is not None:
        return hold.verdict
    if not gang_is_gone(context.observed):
        return _waiting_for_old_pods(context, status, number)
    # Capacity is asked about last: nodes cost money, and nothing else may keep the gang from using them.
    return _in_the_way(context, number) or _unfit(context, number) or _with_capacity(context, number)


def _waiting_for_old_pods(context: Context, status: MaskTrainingJobStatus, number: int) -> Restarting:
    left = sorted(pods.name(pod) for pod in context.observed.pods if not pods.is_terminal(pod))
    what = f"pods {', '.join(left)}" if left else "the Job controller"
    failure = status.restarts.last_failure
    why = f"attempt {failure.attempt} ended: {failure.message}" if failure else "its Job was deleted."
    message = f"Attempt {number} waits for {what} of the last one to end; {why}"
    # A finalizer keeps a pod that was deleted by force, and a deletion may be refused: both for as long as they like.
    overdue = verdict_of(map(forced_end, context.observed.pods), context.now) is not None
    return Restarting(Reason.WAITING_FOR_OLD_PODS, message, is_overdue=overdue or bool(held_refusals(context)))


def _in_the_way(context: Context, number: int) -> Blocked | None:
    """Objects of others under the names that this job needs; taking them over would break what they are for."""
    for _, reason, message in not_ours(context):
        return Blocked(reason, message)
    name = attempt_name(context.job.metadata.name, number)
    if name in context.observed.foreign_jobs:
        message = f"A Job called {name} stands in the way and is not this job's: delete it, or create this job anew."
        return Blocked(Reason.JOB_NOT_OURS, message)
    return None


def not_ours(context: Context) -> Iterator[tuple[str, Reason, str]]:
    """Kind, reason and sentence of what stands under the job's own name and is somebody else's.

    Without the Service pods have no names, without the NetworkPolicy they have no protection.
    """
    found = (
        ("Service", Reason.SERVICE_NOT_OURS, context.is_service_ours),
        ("NetworkPolicy", Reason.NETWORK_POLICY_NOT_OURS, context.is_network_policy_ours),
    )
    name = context.job.metadata.name
    for kind, reason, is_ours in found:
        if not is_ours:
            way_out = "delete it, or create this job under another name."
            yield kind, reason, f"A {kind} called {name} stands in the way and is not this job's: {way_out}"


def _unfit(context: Context, number: int) -> Failed | None:
    """What the pods would end with at once, said without paying for a node."""
    job = context.job
    sentence = missing_region(job) or outdated_image(job)
    # A later attempt starts from a checkpoint, wherever the mirror has been moved meanwhile.
    if sentence is None and number == 0:
        sentence = closed_mirror(job, context.settings)
    return None if sentence is None else Failed(Reason.INVALID_SPEC, sentence)


def _with_capacity(context: Context, number: int) -> Start | Waiting | Blocked | Failed:
    capacity = context.observed.capacity
    has_price = capacity is not None and capacity.hourly_rate is not None
    is_chosen = capacity is None or capacity.is_ready or bool(capacity.reserved)
    if context.job.spec.limits.max_cost is not None and is_chosen and not has_price:
        return Failed(Reason.PRICE_UNKNOWN, PRICE_UNKNOWN)
    if capacity is not None and not capacity.is_ready:
        if capacity.needs_a_person:
            return Blocked(capacity.reason, capacity.message)
        return Waiting(number, capacity.reason, capacity.message)
    return Start(number, capacity)
