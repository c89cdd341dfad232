"""Decides what one MaskTrainingJob needs next. Pure: the same question always has the same answer.

Every answer is derived from what is there, never from what happened, so that a missed event or a killed operator
changes nothing in the end. A restart takes two plans: the first writes the end of the old attempt into the status, and
only a status that says so lets the second create the next attempt.

What no longer serves a person or a later attempt is deleted. Each deletion is bound to the uid that was seen, so that
an object of the same name made since then is never hit.
"""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus, Restarts
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core import jobs, pods

from .context import Context
from .deadlines import (
    LOOK_AGAIN_SECONDS,
    broken_limit,
    cause_of_end,
    expiry,
    fence_seconds,
    forced_end,
    held_refusals,
    is_held,
    requeue_after,
    verdict_of,
)
from .decisions import Complete, Continue, Decision, Failed, Finished, Restarting, Start, Waiting
from .lifecycle.restarts import after_end, launch, not_ours
from .manifests.job import covers, job_manifest, network_policy_manifest, service_manifest
from .manifests.metadata import controller_uid, is_controlled_by
from .status.conditions import is_finished, set_condition
from .status.events import events_between
from .status.progress import observed_status
from .status.transitions import with_decision
from .types import Deletion, Manifest, Observed, Plan, PlanSettings, Refusal

KEPT_ATTEMPTS = 2
"""The newest attempts whose Jobs stay, because the logs of their pods explain what happened."""

FOREGROUND = "foregroundDeletion"
"""The finalizer by which the garbage collector deletes what a resource owns before the resource itself."""


def plan(job: MaskTrainingJob, observed: Observed, now: datetime, settings: PlanSettings) -> Plan:
    """What to do for `job` now."""
    if job.metadata.deletion_timestamp is not None:
        return plan_deleted(job.metadata.finalizers, observed, now)
    context = Context(job, observed, now.replace(microsecond=0), settings)
    seen = _without_pool_of_another(context, observed_status(context))
    decision = _decide(context, seen)
    wanted = _writes(context, decision)
    refusals = _refusals(context, decision, wanted)
    lasting = [refusal for refusal in refusals if refusal.is_lasting]
    status = with_decision(context, seen, _unless_refused(decision, refusals), lasting)
    # A write that was refused a moment ago is tried again at its time, not at every event.
    possible = wanted.without({refusal.key for refusal in refusals})
    timed = replace(possible, requeue_after=requeue_after(context, status))
    # Events tell what has changed in the status: without a change nothing is to be written, or told.
    if status == context.status:
        return timed
    events = events_between(context.status, status, job.spec.compute)
    return replace(timed, status=status.to_manifest(), events=events)


def plan_deleted(finalizers: Iterable[str], observed: Observed, now: datetime) -> Plan:
    """For a resource that is being deleted, readable or not: whatever keeps it, nothing of it goes on training.

    The garbage collector takes what a resource owns once that is gone. A finalizer of anybody's puts that off for ever,
    and `--cascade=orphan` has it done never: limits of time and money would go with the resource, and the nodes stay.
    """
    by_collector = FOREGROUND in finalizers
    going_on = [job for job in observed.jobs if not (by_collector or jobs.is_over(job))]
    left = map(_delete_pod, _pods_without_job(observed))
    stuck = map(_delete_pod_by_force, _stuck_pods(observed, now))
    wanted = Plan(delete=(*map(_delete_job, going_on), *left, *stuck))
    ends = [end.moment for end in map(forced_end, observed.pods) if end is not None and end.moment > now]
    held = [refusal for refusal in observed.refusals if refusal.key in wanted.writes and is_held(refusal, now)]
    moments = [*ends, *(refusal.retry_time for refusal in held)]
    wait = min(((moment - now).total_seconds() for moment in moments), default=None)
    return replace(wanted.without({refusal.key for refusal in held}), requeue_after=wait)


def plan_unreadable(status: MaskTrainingJobStatus, generation: int, message: str, now: datetime) -> Plan:
    """For a resource whose spec this version of the operator cannot read: say so, and leave alone what is at work."""
    if is_finished(status):
        return Plan()
    new = status.model_copy(update={"observed_generation": generation})
    new = set_condition(
        new, ConditionType.STALLED, True, reason=Reason.INVALID_SPEC, message=message, now=now.replace(microsecond=0)
    )
    return Plan() if new == status else Plan(status=new.to_manifest(), events=events_between(status, new))


def _without_pool_of_another(context: Context, seen: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """An attempt that was found, and that no plan has started, was given no pool: its Job may be anybody's."""
    return seen if seen.attempt == context.status.attempt else seen.model_copy(update={"node_pool": None})


def _decide(context: Context, status: MaskTrainingJobStatus) -> Decision:
    """The job's next step. `status` holds what was observed."""
    if is_finished(status):
        return verdict_of([expiry(context, status)], context.now) or Finished(expired=False)
    # Before the limits: what is trained and stored stays a success, although a limit has passed meanwhile.
    if context.attempt is not None and context.attempt.is_complete:
        return Complete()
    return broken_limit(context, status) or _next_of_attempt(context, status)


def _next_of_attempt(context: Context, status: MaskTrainingJobStatus) -> Decision:
    attempt = context.attempt
    if attempt is None:
        return launch(context, status, 0)
    if context.attempt_is_accounted:
        return launch(context, status, attempt.number + 1)
    if (cause := cause_of_end(context, attempt)) is not None:
        return after_end(context, status, attempt.number, cause)
    # A Job that is gone although its attempt has not ended was deleted by someone: it is made again under its own name.
    return Continue() if attempt.job is not None else launch(context, status, attempt.number)


def _writes(context: Context, decision: Decision) -> Plan:
    create: tuple[Manifest, ...] = ()
    if isinstance(decision, Start):
        pool = decision.capacity.pool if decision.capacity else None
        create = (job_manifest(context.job, decision.number, context.settings, pool, fence_seconds(context)),)
    left = map(_delete_pod, _pods_without_job(context.observed))
    # Once each, in order: a stuck pod's Job may be to be deleted for two reasons.
    deletions = dict.fromkeys((*_deletions(context, decision), *_end_stuck(context), *left))
    return Plan(create=create, apply=_applied(context, decision), delete=tuple(deletions))


def _deletions(context: Context, decision: Decision) -> tuple[Deletion, ...]:
    match decision:
        case Finished(expired=True):
            return _everything(context)
        case Finished() | Failed():
            # Pods are asked to stop, so that they leave a checkpoint.
            return tuple(map(_delete_job, _unfinished(context)))
        case Restarting(restarts=restarts):
            return _outlived_jobs(context, restarts or context.status.restarts)
        case Start(number):
            return _old_jobs(context, number)
        case Continue() if context.attempt is not None:
            return _old_jobs(context, context.attempt.number)
        case _:
            return ()


def _applied(context: Context, decision: Decision) -> tuple[Manifest, ...]:
    """What the pods are called by and what shields them; a job that ends needs none."""
    if isinstance(decision, Complete | Failed | Finished):
        return ()
    wanted: list[tuple[Manifest, Manifest | None]] = []
    if context.is_service_ours:
        wanted.append((service_manifest(context.job), context.observed.service))
    if context.settings.progress_clients and context.is_network_policy_ours:
        policy = network_policy_manifest(context.job, context.settings)
        wanted.append((policy, context.observed.network_policy))
    return tuple(manifest for manifest, live in wanted if live is None or not covers(live, manifest))


def _refusals(context: Context, decision: Decision, wanted: Plan) -> tuple[Refusal, ...]:
    """Why what is wanted is not all done: the API server's refusals, and what is in the way of a gang at work."""
    held = held_refusals(context)
    refusals = tuple(refusal for refusal in held if refusal.key in wanted.writes)
    if isinstance(decision, Waiting) and decision.reason == Reason.WRITE_REFUSED:
        # Of a dry run: what would follow was not even tried.
        refusals += tuple(refusal for refusal in held if refusal.key not in wanted.writes)
    if not isinstance(decision, Continue):
        return refusals
    name, again = context.job.metadata.name, context.now + timedelta(seconds=LOOK_AGAIN_SECONDS)
    in_the_way = (Refusal("apply", kind, name, reason, message, again) for kind, reason, message in not_ours(context))
    return (*refusals, *in_the_way)


def _unless_refused(decision: Decision, refusals: tuple[Refusal, ...]) -> Decision:
    """An attempt whose Job may not be created has not started."""
    refused = next((refusal for refusal in refusals if refusal.verb == "create"), None)
    if not isinstance(decision, Start) or refused is None:
        return decision
    return Waiting(decision.number, Reason.WRITE_REFUSED, refused.sentence)


def _old_jobs(context: Context, newest: int) -> tuple[Deletion, ...]:
    """Jobs of attempts too old to be of use, counted from attempt number `newest`."""
    return tuple(
        _delete_job(job)
        for job in context.observed.jobs
        if jobs.attempt_number(job) <= newest - KEPT_ATTEMPTS and jobs.is_finished(job) and not jobs.is_going(job)
    )


def _pods_without_job(observed: Observed) -> list[Manifest]:
    """Pods of Jobs that are going or gone, and that run as if they were not.

    The garbage collector asks them to end when the Job is gone. A finalizer of anybody's on the Job puts that off for
    ever, and after `--cascade=orphan` it never does.
    """
    at_work = {job["metadata"]["uid"] for job in observed.jobs if not jobs.is_going(job)}
    left = (pod for pod in observed.pods if controller_uid(pod) not in at_work)
    return [pod for pod in left if not (pods.is_terminal(pod) or jobs.is_going(pod))]


def _stuck_pods(observed: Observed, now: datetime) -> list[Manifest]:
    return [pod for pod in observed.pods if verdict_of([forced_end(pod)], now)]


def _end_stuck(context: Context) -> tuple[Deletion, ...]:
    """Pods that do not end, by force, and the Jobs that wait for them."""
    stuck = _stuck_pods(context.observed, context.now)
    # The Job goes first: its controller would wait for the pod and never say Failed.
    attempts = {jobs.attempt_number(pod) for pod in stuck}
    waiting = [
        job
        for job in context.observed.jobs
        if jobs.attempt_number(job) in attempts and not jobs.is_finished(job) and not jobs.is_going(job)
    ]
    return (*map(_delete_job, waiting), *map(_delete_pod_by_force, stuck))


def _outlived_jobs(context: Context, account: Restarts) -> tuple[Deletion, ...]:
    """Jobs that would go on although the account says that their attempt has ended.

    However long ago that was written: a deletion that the API server did not take is still to be done.
    """
    ended = account.last_failure.attempt if account.last_failure else -1
    return tuple(_delete_job(job) for job in _unfinished(context) if 0 <= jobs.attempt_number(job) <= ended)


def _unfinished(context: Context) -> list[Manifest]:
    # A Job that is failing has its pods stopped by its controller, and stays for the log of the one that failed.
    return [
        job for job in context.observed.jobs if not (jobs.is_finished(job) or jobs.failure(job) or jobs.is_going(job))
    ]


def _everything(context: Context) -> tuple[Deletion, ...]:
    """Jobs with their pods, pods that lost their Job, Service and NetworkPolicy; the resource itself stays."""
    observed = context.observed
    # The garbage collector takes a Job's pods with it; those without one would stay for ever.
    remaining = [job for job in observed.jobs if not jobs.is_going(job)]
    with_job = {job["metadata"]["uid"] for job in remaining}
    orphans = [pod for pod in observed.pods if controller_uid(pod) not in with_job and not jobs.is_going(pod)]
    return (*map(_delete_job, remaining), *map(_delete_pod, orphans), *_applied_before(context))


def _applied_before(context: Context) -> tuple[Deletion, ...]:
    uid, observed = context.job.metadata.uid, context.observed
    found = (("v1", "Service", observed.service), ("networking.k8s.io/v1", "NetworkPolicy", observed.network_policy))
    return tuple(
        _deletion(api_version, kind, manifest)
        for api_version, kind, manifest in found
        if manifest is not None and not jobs.is_going(manifest) and is_controlled_by(manifest, uid)
    )


def _delete_job(job: Manifest) -> Deletion:
    """With its pods, gracefully: the garbage collector asks them to end."""
    return _deletion("batch/v1", "Job", job)


def _delete_pod(pod: Manifest) -> Deletion:
    return _deletion("v1", "Pod", pod)


def _delete_pod_by_force(pod: Manifest) -> Deletion:
    """Remove the object without waiting for a kubelet to confirm that its processes are gone."""
    return _deletion("v1", "Pod", pod, grace_seconds=0)


# Never of what is going: deleting it once more would change nothing, and the plan would never come to rest.


def _deletion(api_version: str, kind: str, manifest: Manifest, grace_seconds: int | None = None) -> Deletion:
    metadata = manifest["metadata"]
    return Deletion(api_version, kind, metadata["namespace"], metadata["name"], metadata["uid"], grace_seconds)
