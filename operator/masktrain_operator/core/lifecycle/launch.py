"""Starting an attempt: once nothing of the old gang can write or hold a GPU, and not before its back-off is over."""

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.core import pods
from masktrain_operator.core.attempts import Attempt, gang_is_gone
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import LOOK_AGAIN_SECONDS
from masktrain_operator.core.manifests.job import job_manifest
from masktrain_operator.core.manifests.metadata import attempt_name
from masktrain_operator.core.status import transitions as statuses
from masktrain_operator.core.status.cost import with_boot_cost
from masktrain_operator.core.types import Capacity, Plan

from . import cleanup

_PRICE_UNKNOWN = (
    "limits.maxCost is set, but what the nodes cost is not known: use a GPUNodePool whose shape has a list price, "
    "or set its hourlyPrice."
)

Decision = tuple[Plan, MaskTrainingJobStatus]
"""What to do, and the whole new status."""


def launch(situation: Context, status: MaskTrainingJobStatus, number: int) -> Decision:
    """Create the Job of attempt `number`, or say what it waits for."""
    retry_time = status.restarts.retry_time
    if retry_time is not None and retry_time > situation.now:
        return Plan(), _backing_off(situation, status, number)
    if not gang_is_gone(situation.observed):
        return Plan(), _waiting_for_old_pods(situation, status, number)
    if attempt_name(situation.job.metadata.name, number) in situation.observed.foreign_jobs:
        return _blocked_by_job(situation, status, number)
    capacity = situation.observed.capacity
    if capacity is not None and not capacity.is_ready:
        return Plan(), _waiting_for_capacity(situation, status, number, capacity)
    if situation.job.spec.limits.max_cost is not None and (capacity is None or capacity.hourly_rate is None):
        return Plan(), statuses.failed(situation, status, Reason.PRICE_UNKNOWN, _PRICE_UNKNOWN)
    return _create(situation, status, number)


def _waiting_for_capacity(
    situation: Context, status: MaskTrainingJobStatus, number: int, capacity: Capacity
) -> MaskTrainingJobStatus:
    if capacity.needs_a_person:
        return statuses.blocked(situation, status, capacity.reason, capacity.message)
    return statuses.waiting(situation, status, number, capacity.reason, capacity.message)


def _create(situation: Context, status: MaskTrainingJobStatus, number: int) -> Decision:
    pool = situation.observed.capacity.pool if situation.observed.capacity else None
    if number != status.attempt:
        status = with_boot_cost(statuses.started(situation, status, number), situation.observed.capacity)
    status = status.model_copy(update={"node_pool": pool})
    status = statuses.starting_or_running(situation, status, Attempt(number, None, ()))
    manifest = job_manifest(situation.job, number, situation.settings, pool)
    return Plan(create=(manifest,), delete=cleanup.old_jobs(situation, number)), status


def _backing_off(situation: Context, status: MaskTrainingJobStatus, number: int) -> MaskTrainingJobStatus:
    message = f"Attempt {number} starts at {status.restarts.retry_time:%Y-%m-%dT%H:%M:%SZ}; {_last_failure(status)}"
    return statuses.restarting(situation, status, Reason.RESTART_BACKOFF, message)


def _waiting_for_old_pods(situation: Context, status: MaskTrainingJobStatus, number: int) -> MaskTrainingJobStatus:
    left = sorted(pods.name(pod) for pod in situation.observed.pods if not pods.is_terminal(pod))
    what = f"pods {', '.join(left)}" if left else "the Job controller"
    message = f"Attempt {number} waits for {what} of the last one to end; {_last_failure(status)}"
    return statuses.restarting(situation, status, Reason.WAITING_FOR_OLD_PODS, message)


def _last_failure(status: MaskTrainingJobStatus) -> str:
    failure = status.restarts.last_failure
    return f"attempt {failure.attempt} ended: {failure.message}" if failure else "its Job was deleted."


def _blocked_by_job(situation: Context, status: MaskTrainingJobStatus, number: int) -> Decision:
    name = attempt_name(situation.job.metadata.name, number)
    message = f"A Job called {name} stands in the way and is not this job's: delete it, or create this job anew."
    status = statuses.blocked(situation, status, Reason.JOB_NOT_OURS, message)
    return Plan(requeue_after=LOOK_AGAIN_SECONDS), status
