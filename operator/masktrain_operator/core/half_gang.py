"""Half a gang: only some pods found a node. It holds GPUs that another one may be waiting for, and trains nothing.

Where nobody admits gangs whole (no GPUNodePool, no queue), two jobs can block each other like this for ever. Each gives
up after a while of its own, so that one of them gets all.
"""

import hashlib
from datetime import datetime, timedelta

from masktrain_operator.api.conditions import FailureKind

from . import jobs, pods
from .attempts import Attempt
from .failures import Cause
from .situation import Situation

PATIENCE = timedelta(minutes=10)
"""Longer than a cluster-autoscaler usually takes to bring a GPU node."""
JITTER = timedelta(minutes=3)
REASON = "GangIncomplete"


def giving_up_time(situation: Situation, attempt: Attempt) -> datetime | None:
    """When the half gang lets go of its nodes; None for one that is whole, or has none."""
    if attempt.job is None or jobs.is_finished(attempt.job):
        return None
    nodes = situation.job.spec.compute.nodes
    waiting = any(pods.condition(pod, "PodScheduled").get("reason") == "Unschedulable" for pod in attempt.pods)
    bound = [pods.condition_time(pod, "PodScheduled") for pod in attempt.pods if pods.is_scheduled(pod)]
    since = min((moment for moment in bound if moment is not None), default=None)
    if since is None or not waiting or attempt.all_workers_scheduled(nodes):
        return None
    return since + PATIENCE + _jitter(situation.job.metadata.uid, attempt.number)


def cause_of_half_gang(situation: Situation, attempt: Attempt) -> Cause:
    bound = sum(map(pods.is_scheduled, attempt.pods))
    sentence = (
        f"Only {bound} of {situation.job.spec.compute.nodes} workers found a node: they let go of it, so that no two "
        "jobs wait for each other's."
    )
    return Cause(FailureKind.PREEMPTED, REASON, sentence)


def _jitter(uid: str, attempt: int) -> timedelta:
    """Differs from job to job and from attempt to attempt, and is the same whenever it is asked for."""
    return JITTER * (hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[0] / 255)
