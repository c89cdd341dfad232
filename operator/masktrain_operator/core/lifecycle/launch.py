"""Starting an attempt: once nothing of the old gang can write or hold a GPU, and not before its back-off is over."""

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.core import pods
from masktrain_operator.core.attempts import gang_is_gone
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import back_off
from masktrain_operator.core.decisions import Blocked, Failed, Restarting, Start, Waiting
from masktrain_operator.core.manifests.metadata import attempt_name

PRICE_UNKNOWN = (
    "limits.maxCost is set, but what the nodes cost is not known: use a GPUNodePool whose shape has a list price, "
    "or set its hourlyPrice."
)


def launch(
    context: Context, status: MaskTrainingJobStatus, number: int
) -> Start | Waiting | Restarting | Blocked | Failed:
    """Whether the Job of attempt `number` may be created, or what it waits for."""
    hold = back_off(status)
    if hold is not None and hold.moment > context.now:
        return hold.verdict
    if not gang_is_gone(context.observed):
        return _waiting_for_old_pods(context, status, number)
    # Capacity is asked about last: nodes cost money, and nothing else may keep the gang from using them.
    return _in_the_way(context, number) or _with_capacity(context, number)


def _waiting_for_old_pods(context: Context, status: MaskTrainingJobStatus, number: int) -> Restarting:
    left = sorted(pods.name(pod) for pod in context.observed.pods if not pods.is_terminal(pod))
    what = f"pods {', '.join(left)}" if left else "the Job controller"
    failure = status.restarts.last_failure
    why = f"attempt {failure.attempt} ended: {failure.message}" if failure else "its Job was deleted."
    return Restarting(Reason.WAITING_FOR_OLD_PODS, f"Attempt {number} waits for {what} of the last one to end; {why}")


def _in_the_way(context: Context, number: int) -> Blocked | None:
    """Objects of others under the names that this job needs; taking them over would break what they are for."""
    if not context.is_service_ours:
        return Blocked(Reason.SERVICE_NOT_OURS, service_not_ours(context.job.metadata.name))
    name = attempt_name(context.job.metadata.name, number)
    if name in context.observed.foreign_jobs:
        message = f"A Job called {name} stands in the way and is not this job's: delete it, or create this job anew."
        return Blocked(Reason.JOB_NOT_OURS, message)
    return None


def service_not_ours(name: str) -> str:
    """Without the Service the pods have no names."""
    return (
        f"A Service called {name} stands in the way and is not this job's: "
        "delete it, or create this job under another name."
    )


def _with_capacity(context: Context, number: int) -> Start | Waiting | Blocked | Failed:
    capacity = context.observed.capacity
    if capacity is not None and not capacity.is_ready:
        if capacity.needs_a_person:
            return Blocked(capacity.reason, capacity.message)
        return Waiting(number, capacity.reason, capacity.message)
    if context.job.spec.limits.max_cost is not None and (capacity is None or capacity.hourly_rate is None):
        return Failed(Reason.PRICE_UNKNOWN, PRICE_UNKNOWN)
    return Start(number, capacity)
