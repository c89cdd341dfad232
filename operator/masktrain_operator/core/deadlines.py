"""Every rule that a clock decides, and when to look again."""

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.lifecycle.causes import is_on_lost_node, last_words_time
from masktrain_operator.core.status.conditions import find_condition, is_finished, is_true
from masktrain_operator.core.status.transitions import speaks

from . import jobs, pods
from .attempts import Attempt
from .context import Context
from .types import Manifest

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


def expiry(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> datetime | None:
    """None without a limit, and before the end."""
    seconds = job.spec.limits.ttl_seconds_after_finished
    if seconds is None or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=seconds)


def has_expired(job: MaskTrainingJob, status: MaskTrainingJobStatus, now: datetime) -> bool:
    end = expiry(job, status)
    return end is not None and end <= now


FORCED_END_PATIENCE = timedelta(seconds=30)
"""Beyond the grace period, which a pod's deletionTimestamp already includes."""


def is_stuck(pod: Manifest, now: datetime) -> bool:
    end = forced_end_time(pod)
    return end is not None and end <= now


def forced_end_time(pod: Manifest) -> datetime | None:
    """When the pod is given up, None if it has ended or nobody asked it to."""
    deletion = pod["metadata"].get("deletionTimestamp")
    if deletion is None or pods.is_terminal(pod):
        return None
    if is_on_lost_node(pod):
        return pods.condition_time(pod, pods.DISRUPTION_TARGET)
    return pods.parse_time(deletion) + FORCED_END_PATIENCE


HALF_GANG_PATIENCE = timedelta(minutes=10)
"""Longer than a cluster-autoscaler usually takes to bring a GPU node."""
HALF_GANG_JITTER = timedelta(minutes=3)


def giving_up_time(situation: Context, attempt: Attempt) -> datetime | None:
    """When the half gang lets go of its nodes; None for one that is whole, or has none."""
    if attempt.job is None or jobs.is_finished(attempt.job):
        return None
    nodes = situation.job.spec.compute.nodes
    waiting = any(pods.condition(pod, "PodScheduled").get("reason") == "Unschedulable" for pod in attempt.pods)
    bound = [pods.condition_time(pod, "PodScheduled") for pod in attempt.pods if pods.is_scheduled(pod)]
    since = min((moment for moment in bound if moment is not None), default=None)
    if since is None or not waiting or attempt.all_workers_scheduled(nodes):
        return None
    return since + HALF_GANG_PATIENCE + _jitter(situation.job.metadata.uid, attempt.number)


def _jitter(uid: str, attempt: int) -> timedelta:
    """Differs from job to job and from attempt to attempt, and is the same whenever it is asked for."""
    return HALF_GANG_JITTER * (hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[0] / 255)


def requeue_after(situation: Context, status: MaskTrainingJobStatus) -> float | None:
    """Seconds until the plan may be another one, given the status it leaves; None if that needs an event."""
    waits = [(moment - situation.now).total_seconds() for moment in _moments(situation, status)]
    coming = [wait for wait in waits if wait > 0]
    if speaks(situation) and not is_finished(status):
        coming.append(situation.settings.progress_interval_seconds)
    return min(coming, default=None)


def _moments(situation: Context, status: MaskTrainingJobStatus) -> Iterator[datetime]:
    candidates = [forced_end_time(pod) for pod in situation.observed.pods]
    if is_finished(status):
        candidates.append(expiry(situation.job, status))
    else:
        candidates += [
            deadline(situation.job, status),
            start_deadline(situation.job, status),
            status.restarts.retry_time,
        ]
        if situation.attempt is not None and not situation.attempt_is_accounted:
            candidates += [last_words_time(situation.attempt), giving_up_time(situation, situation.attempt)]
    yield from (moment for moment in candidates if moment is not None)


LOOK_AGAIN_SECONDS = 15.0
"""At objects of others, which no watch of ours follows."""
