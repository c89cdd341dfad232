"""Every rule that a clock decides: the moment, and the verdict from then on.

What is due decides; the earliest moment of the rest is when to look again. Both read the same rules, so that none can
be forgotten in one of two places.
"""

import hashlib
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, TypeVar

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.labels import NODE_POOL_LABEL
from masktrain_operator.api.status import MaskTrainingJobStatus

from . import jobs, pods
from .attempts import Attempt
from .context import Context
from .decisions import Failed, Finished, Restarting
from .lifecycle.causes import (
    Cause,
    cause_of,
    cause_of_forced_end,
    cause_of_half_gang,
    cause_of_kept_job,
    cause_of_refused_pods,
    is_on_lost_node,
    last_words_time,
)
from .status.conditions import find_condition, is_finished
from .status.cost import spending_per_hour
from .times import format_time, parse_time
from .types import Manifest, Refusal, WriteKey

FORCED_END_PATIENCE = timedelta(seconds=30)
"""Beyond the grace period."""
HALF_GANG_PATIENCE = timedelta(minutes=10)
"""Longer than a cluster-autoscaler usually takes to bring a GPU node."""
HALF_GANG_JITTER = timedelta(minutes=3)
FENCE_PATIENCE = timedelta(minutes=10)
# 10 s doubling to 5 min is also the kubelet's own back-off between restarts of a container.
FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(seconds=300)
FIRST_WRITE_BACKOFF = timedelta(seconds=2)
LONGEST_WRITE_BACKOFF = timedelta(seconds=120)
"""No watch tells that a quota has room again or that a policy has changed: this is how long that may go unnoticed."""
POD_CREATION_PATIENCE = timedelta(minutes=2)
"""The Job controller creates all pods within seconds; those that it does not are refused."""
LOOK_AGAIN_SECONDS = 15.0
"""At objects of others, which no watch of ours follows."""

Verdict = TypeVar("Verdict")


@dataclass(frozen=True)
class Due(Generic[Verdict]):
    """From `moment` on, `verdict` holds."""

    moment: datetime
    verdict: Verdict


@dataclass(frozen=True)
class Hold(Generic[Verdict]):
    """Until `moment`, `verdict` holds."""

    moment: datetime
    verdict: Verdict


def verdict_of(rules: Iterable[Due[Verdict] | None], now: datetime) -> Verdict | None:
    """Of the first rule that is due."""
    return next((rule.verdict for rule in rules if rule is not None and rule.moment <= now), None)


def held(rule: Hold[Verdict] | None, now: datetime, longest: timedelta) -> Hold[Verdict] | None:
    """The rule while it holds. One that would hold for longer than any does is from before the clock was set back."""
    return rule if rule is not None and now < rule.moment <= now + longest else None


def broken_limit(context: Context, status: MaskTrainingJobStatus) -> Failed | None:
    """The first limit of the spec that the job has come to, None while it may go on."""
    return verdict_of(_limits(context, status), context.now)


def cause_of_end(context: Context, attempt: Attempt) -> Cause | None:
    """Why the attempt is over, None while it is not."""
    return verdict_of(_ends(context, attempt), context.now)


def requeue_after(context: Context, status: MaskTrainingJobStatus) -> float | None:
    """Seconds until the plan may be another one, given the status it leaves; None if that needs an event.

    A moment that has passed has been decided about, unless it is the new status that brings it: that is due at once.
    """
    known = {(type(rule.verdict), rule.moment) for rule in _rules(context, context.status)}
    waits = [
        (rule.moment - context.now).total_seconds()
        for rule in _rules(context, status)
        if rule.moment > context.now or (type(rule.verdict), rule.moment) not in known
    ]
    return min((*(max(wait, 0.0) for wait in waits), *_looks(context, status)), default=None)


def _rules(context: Context, status: MaskTrainingJobStatus) -> Iterator[Due[Any] | Hold[Any]]:
    rules: list[Due[Any] | Hold[Any] | None] = [
        # Of all pods, also of older attempts: one that does not end keeps the next gang waiting.
        *map(forced_end, context.observed.pods),
        *(Hold(refusal.retry_time, refusal) for refusal in held_refusals(context)),
    ]
    if is_finished(status):
        rules.append(expiry(context, status))
    else:
        rules += [*_limits(context, status), held(back_off(status), context.now, LONGEST_BACKOFF)]
        if context.attempt is not None and not context.attempt_is_accounted:
            rules += _ends(context, context.attempt)
    yield from (rule for rule in rules if rule is not None)


def _looks(context: Context, status: MaskTrainingJobStatus) -> Iterator[float]:
    """How soon to look at what no watch shows: our own writes, what rank 0 says, and objects of others."""
    if is_finished(status):
        return
    if status.restarts.last_failure != context.status.restarts.last_failure:
        # The end of an attempt has to be written before another may follow: that is for the next plan.
        yield 0.0
    started = (status.attempt, status.attempt_uid)
    if status.attempt_uid is None and started != (context.status.attempt, context.status.attempt_uid):
        # The Job is known by its uid only once it is there, and its pods by it.
        yield 0.0
    # Pods have no token for the API server, so nobody but the operator can bring their progress there.
    if context.attempt is not None and context.attempt.is_answering:
        yield context.settings.progress_interval_seconds
    ours = context.is_service_ours and context.is_network_policy_ours
    if context.observed.foreign_jobs or not ours:
        yield LOOK_AGAIN_SECONDS


# The end of a job


def _limits(context: Context, status: MaskTrainingJobStatus) -> list[Due[Failed] | None]:
    return [
        active_deadline(context, status),
        start_deadline(context, status),
        held_nodes_deadline(context, status),
        cost_limit(context, status),
        namespace_cost_limit(context),
    ]


def active_deadline(context: Context, status: MaskTrainingJobStatus) -> Due[Failed] | None:
    """`limits.activeDeadlineSeconds`, from the creation of the first attempt."""
    seconds = context.job.spec.limits.active_deadline_seconds
    if seconds is None or status.start_time is None:
        return None
    message = f"The job was not complete {seconds} s after its start, which is its limits.activeDeadlineSeconds."
    return Due(status.start_time + timedelta(seconds=seconds), Failed(Reason.DEADLINE_EXCEEDED, message))


def fence_seconds(context: Context) -> int | None:
    """`activeDeadlineSeconds` of a batch Job that starts now: when Kubernetes itself ends it, whatever becomes of us.

    What remains of the job's own limit, with time for the operator to act on it and for the trainer to stop. None
    without a limit.
    """
    limits = context.job.spec.limits
    if limits.active_deadline_seconds is None:
        return None
    end = (context.status.start_time or context.now) + timedelta(seconds=limits.active_deadline_seconds)
    left = max(end - context.now, timedelta(0)) + FENCE_PATIENCE
    return math.ceil(left.total_seconds()) + limits.stop_grace_seconds


def start_deadline(context: Context, status: MaskTrainingJobStatus) -> Due[Failed] | None:
    """`limits.startDeadlineSeconds`, from when an attempt could have started: not while the operator itself waits."""
    seconds = context.job.spec.limits.start_deadline_seconds
    if seconds is None or status.waiting_since is None:
        return None
    waits_for = find_condition(status, ConditionType.RECONCILING)
    said = f" Last: {waits_for.message}" if waits_for else ""
    message = f"Not all workers had started after {seconds} s, which is limits.startDeadlineSeconds.{said}"
    return Due(status.waiting_since + timedelta(seconds=seconds), Failed(Reason.CAPACITY_NOT_FOUND, message))


def held_nodes_deadline(context: Context, status: MaskTrainingJobStatus) -> Due[Failed] | None:
    """`startTimeoutSeconds` of the pool whose nodes are kept for the job: whoever pays for them says for how long."""
    if status.nodes_held_since is None:
        return None
    nodes, attempt = context.job.spec.compute.nodes, context.attempt
    if attempt is not None and not context.attempt_is_accounted and attempt.all_workers_started(nodes):
        return None  # while no operator looked
    waits_for = find_condition(status, ConditionType.RECONCILING)
    said = f" Last: {waits_for.message}" if waits_for else ""
    refused = waits_for is not None and waits_for.reason == Reason.WRITE_REFUSED
    seconds = context.observed.start_timeout_seconds
    message = (
        f"Nodes were kept for the job for {seconds} s, which is startTimeoutSeconds of their GPUNodePool, and not all "
        f"workers had started.{said}"
    )
    reason = Reason.WRITE_REFUSED if refused else Reason.CAPACITY_NOT_FOUND
    return Due(status.nodes_held_since + timedelta(seconds=seconds), Failed(reason, message))


def namespace_cost_limit(context: Context) -> Due[Failed] | None:
    """`namespaceLimits.monthlyCost` of the pool whose nodes the job has: the pool's account is what counts."""
    sentence = context.observed.overspent
    return None if sentence is None else Due(context.now, Failed(Reason.COST_LIMIT_REACHED, sentence))


def cost_limit(context: Context, status: MaskTrainingJobStatus) -> Due[Failed] | None:
    """`limits.maxCost`: at the rate at which the job spends now."""
    limit, cost = context.job.spec.limits.max_cost, status.cost
    if limit is None or cost is None:
        return None
    left, rate = Decimal(limit) - Decimal(cost.amount), spending_per_hour(context)
    message = f"The job has cost {Decimal(cost.amount):.2f} USD; its limits.maxCost is {limit}."
    failed = Failed(Reason.COST_LIMIT_REACHED, message)
    if left <= 0:
        return Due(context.now, failed)
    # Rounded up: a moment before the limit would find nothing to decide, and the one after it would be forgotten.
    return Due(context.now + timedelta(seconds=math.ceil(left * 3600 / rate)), failed) if rate > 0 else None


def expiry(context: Context, status: MaskTrainingJobStatus) -> Due[Finished] | None:
    """`limits.ttlSecondsAfterFinished`, from the end.

    The resource itself stays with its status: whatever keeps a repository applied would create it again, and train
    again.
    """
    seconds = context.job.spec.limits.ttl_seconds_after_finished
    if seconds is None or status.completion_time is None:
        return None
    return Due(status.completion_time + timedelta(seconds=seconds), Finished(expired=True))


# The end of an attempt


def _ends(context: Context, attempt: Attempt) -> list[Due[Cause] | None]:
    # A Job that has failed has a cause of its own; pods that linger then say nothing about it.
    if attempt.has_failed:
        return [last_words(context, attempt)]
    return [
        *map(forced_end, attempt.pods),
        kept_job(context, attempt),
        half_gang(context, attempt),
        unborn_gang(context, attempt),
    ]


def last_words(context: Context, attempt: Attempt) -> Due[Cause]:
    """The end of an attempt whose Job has failed: once its containers have had the time to say why."""
    return Due(last_words_time(attempt) or context.now, cause_of(attempt))


def forced_end(pod: Manifest) -> Due[Cause] | None:
    """When a pod that was asked to end is given up: past its grace period, or with its node.

    Its object would block the next attempt for ever. A process that still runs behind a partition can do no harm: it
    writes checkpoints under its own, older fence.
    """
    deletion = pod["metadata"].get("deletionTimestamp")
    if deletion is None or pods.is_terminal(pod):
        return None
    # On a lost node no kubelet is left to confirm the end: waiting for the grace period would gain nothing.
    evicted = pods.condition_time(pod, pods.DISRUPTION_TARGET) if is_on_lost_node(pod) else None
    return Due(evicted or pods.end_of_grace(pod) + FORCED_END_PATIENCE, cause_of_forced_end(pod))


def kept_job(context: Context, attempt: Attempt) -> Due[Cause] | None:
    """When an attempt is over whose Job was deleted and does not go: the same attempt cannot be made under its name.

    After the time that a deletion in the foreground takes, which keeps the Job until its pods have ended.
    """
    job = attempt.job
    if job is None or not jobs.is_going(job) or not all(map(pods.is_terminal, attempt.pods)):
        return None
    grace = timedelta(seconds=context.job.spec.limits.stop_grace_seconds)
    deleted = parse_time(job["metadata"]["deletionTimestamp"])
    return Due(deleted + grace + FORCED_END_PATIENCE, cause_of_kept_job(job))


def half_gang(context: Context, attempt: Attempt) -> Due[Cause] | None:
    """When a gang of which only some pods have found a node gives them up; None for one that is whole, or has none.

    It holds GPUs that another one may be waiting for, and trains nothing. Where nobody admits gangs whole (no
    GPUNodePool, no queue), two jobs can block each other like this for ever: the jitter lets one of them get all.
    """
    if attempt.job is None or jobs.is_over(attempt.job):
        return None
    nodes = context.job.spec.compute.nodes
    # A pod that the scheduler has not looked at yet is short of nothing.
    waiting = any(pods.condition(pod, "PodScheduled").get("reason") == "Unschedulable" for pod in attempt.pods)
    # Since the first pod was bound: only from then on does the gang hold something that others may need.
    bound = [pods.condition_time(pod, "PodScheduled") for pod in attempt.pods if pods.is_scheduled(pod)]
    since = min((moment for moment in bound if moment is not None), default=None)
    if since is None or not waiting or attempt.all_workers_scheduled(nodes):
        return None
    moment = since + HALF_GANG_PATIENCE + _jitter(context.job.metadata.uid, attempt.number)
    return Due(moment, cause_of_half_gang(attempt, nodes))


def unborn_gang(context: Context, attempt: Attempt) -> Due[Cause] | None:
    """When a gang that nodes of a pool are kept for gives them up, because not all of its pods could be created."""
    if attempt.job is None or jobs.is_over(attempt.job):
        return None
    metadata, nodes = attempt.job["metadata"], context.job.spec.compute.nodes
    created = metadata.get("creationTimestamp")
    if NODE_POOL_LABEL not in metadata.get("labels", {}) or created is None or len(attempt.pods) >= nodes:
        return None
    return Due(parse_time(created) + POD_CREATION_PATIENCE, cause_of_refused_pods(attempt, nodes))


def _jitter(uid: str, attempt: int) -> timedelta:
    """Differs from job to job and from attempt to attempt, and is the same whenever it is asked for."""
    # Not hash(): it is salted per process, so a restarted operator would move the moment.
    return HALF_GANG_JITTER * (hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[0] / 255)


# The beginning of the next attempt, and of the next try of a write


def back_off(status: MaskTrainingJobStatus) -> Hold[Restarting] | None:
    """Until when no attempt follows the one that ended."""
    retry_time, failure = status.restarts.retry_time, status.restarts.last_failure
    if retry_time is None or failure is None:
        return None
    message = (
        f"Attempt {failure.attempt + 1} starts at {format_time(retry_time)}; "
        f"attempt {failure.attempt} ended: {failure.message}"
    )
    return Hold(retry_time, Restarting(Reason.RESTART_BACKOFF, message))


def backoff(failures: int, first: timedelta = FIRST_BACKOFF, longest: timedelta = LONGEST_BACKOFF) -> timedelta:
    """`first`, doubling up to `longest`; nothing without a failure."""
    if failures == 0:
        return timedelta(0)
    # Bounded, because a job may fail ten thousand times and 2 to that power is no timedelta.
    doublings: int = min(failures - 1, 10)
    return min(first * (1 << doublings), longest)


def held_refusals(context: Context) -> tuple[Refusal, ...]:
    """Writes that the API server has refused and that are not tried again yet."""
    return tuple(refusal for refusal in context.observed.refusals if is_held(refusal, context.now))


def is_held(refusal: Refusal, now: datetime) -> bool:
    """Whether the write is not to be tried again yet."""
    return held(Hold(refusal.retry_time, refusal), now, LONGEST_WRITE_BACKOFF) is not None


def refused(
    write: WriteKey, *, reason: str, message: str, before: Refusal | None, now: datetime, is_overload: bool = False
) -> Refusal:
    """A write that was just refused, `before` when it was last tried, and when it may be tried again."""
    failures = before.failures + 1 if before else 1
    # In whole seconds, like `Context.now`, which it is compared with.
    again = now.replace(microsecond=0) + backoff(failures, FIRST_WRITE_BACKOFF, LONGEST_WRITE_BACKOFF)
    verb, kind, name = write
    # A condition must have a reason, and an answer that a proxy or webhook broke has none.
    return Refusal(verb, kind, name, reason or "Refused", message, again, failures, is_overload)
