"""The limits of the spec that end a job: its life, its wait for capacity, its cost."""

from datetime import datetime, timedelta
from decimal import Decimal

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob

from .conditions import find_condition, is_true

BrokenLimit = tuple[Reason, str]
"""The reason of `Failed`, and its sentence."""


def broken_limit(job: MaskTrainingJob, status: MaskTrainingJobStatus, now: datetime) -> BrokenLimit | None:
    """The first limit that the job has come to, None while it may go on."""
    if _is_over(deadline(job, status), now):
        return Reason.DEADLINE_EXCEEDED, _deadline_sentence(job)
    if _is_over(start_deadline(job, status), now):
        return Reason.CAPACITY_NOT_FOUND, _capacity_sentence(job, status)
    if _has_reached_cost(job, status):
        return Reason.COST_LIMIT_REACHED, _cost_sentence(job, status)
    return None


def deadline(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> datetime | None:
    """`limits.activeDeadlineSeconds`: None without it, and before the first attempt."""
    seconds = job.spec.limits.active_deadline_seconds
    if seconds is None or status.start_time is None:
        return None
    return status.start_time + timedelta(seconds=seconds)


def start_deadline(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> datetime | None:
    """`limits.startDeadlineSeconds`: counted from when the job began to wait for its workers, None once they run."""
    seconds = job.spec.limits.start_deadline_seconds
    waiting = find_condition(status, ConditionType.RECONCILING)
    if seconds is None or waiting is None or not is_true(status, ConditionType.RECONCILING):
        return None
    return waiting.last_transition_time + timedelta(seconds=seconds)


def _is_over(moment: datetime | None, now: datetime) -> bool:
    return moment is not None and moment <= now


def _has_reached_cost(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> bool:
    limit = job.spec.limits.max_cost
    return limit is not None and status.cost is not None and Decimal(status.cost.amount) >= Decimal(limit)


def _deadline_sentence(job: MaskTrainingJob) -> str:
    seconds = job.spec.limits.active_deadline_seconds
    return f"The job was not complete {seconds} s after its start, which is its limits.activeDeadlineSeconds."


def _capacity_sentence(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> str:
    waiting = find_condition(status, ConditionType.RECONCILING)
    seconds = job.spec.limits.start_deadline_seconds
    said = f" Last: {waiting.message}" if waiting else ""
    return f"Not all workers had started after {seconds} s, which is limits.startDeadlineSeconds.{said}"


def _cost_sentence(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> str:
    spent = Decimal(status.cost.amount) if status.cost else Decimal(0)
    return f"The job has cost {spent:.2f} USD; its limits.maxCost is {job.spec.limits.max_cost}."
