"""Decides what one MaskTrainingJob needs next. Pure: the same question always has the same answer.

Every answer is derived from what is there, never from what happened, so that a missed event or a killed operator
changes nothing in the end. A restart takes two plans: the first writes the end of the old attempt into the status, and
only a status that says so lets the second create the next attempt.
"""

from dataclasses import replace
from datetime import datetime

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.lifecycle import cleanup
from masktrain_operator.core.lifecycle.ending import cause_of_end, end_at_limit, end_attempt
from masktrain_operator.core.lifecycle.launch import Decision, launch
from masktrain_operator.core.manifests.metadata import is_controlled_by
from masktrain_operator.core.manifests.service import covers, service_manifest
from masktrain_operator.core.status import transitions as statuses
from masktrain_operator.core.status.conditions import is_finished
from masktrain_operator.core.status.events import events_between

from .attempts import Attempt
from .context import Context
from .deadlines import LOOK_AGAIN_SECONDS, broken_limit, has_expired, requeue_after
from .types import Manifest, Observed, Plan, PlanSettings


def plan(job: MaskTrainingJob, observed: Observed, now: datetime, settings: PlanSettings) -> Plan:
    """What to do for `job` now. A job that is being deleted needs nothing: the garbage collector takes what it owns."""
    if job.metadata.deletion_timestamp is not None:
        return Plan()
    situation = Context(job, observed, now.replace(microsecond=0), settings)
    decided, status = _decide(situation)
    timed = replace(decided, requeue_after=_earlier(decided.requeue_after, requeue_after(situation, status)))
    if status == situation.status:
        return timed
    return replace(timed, status=status.to_manifest(), events=events_between(situation, status))


def _earlier(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)


def _decide(situation: Context) -> Decision:
    if is_finished(situation.status):
        return _tidy_up(situation), statuses.observed_generation(situation)
    if _service_is_not_ours(situation):
        return _blocked_by_service(situation)
    decided, status = _advance(situation, statuses.observed_status(situation))
    deletions = dict.fromkeys((*decided.delete, *cleanup.stuck_pods(situation)))
    return replace(decided, apply=_service(situation), delete=tuple(deletions)), status


def _advance(situation: Context, status: MaskTrainingJobStatus) -> Decision:
    """The attempt's next step."""
    attempt = situation.attempt
    if attempt is not None and attempt.is_complete:
        return Plan(), statuses.complete(situation, status)
    if (limit := broken_limit(situation.job, status, situation.now)) is not None:
        return end_at_limit(situation, status, limit)
    if attempt is None or situation.attempt_is_accounted:
        return launch(situation, status, attempt.number + 1 if attempt else 0)
    cause = cause_of_end(situation, attempt)
    if cause is not None:
        return end_attempt(situation, status, attempt, cause)
    return _go_on(situation, status, attempt)


def _go_on(situation: Context, status: MaskTrainingJobStatus, attempt: Attempt) -> Decision:
    """An attempt that has not ended. If its Job is gone, someone deleted it: it is made again, under its own name."""
    if attempt.job is None:
        return launch(situation, status, attempt.number)
    old = cleanup.old_jobs(situation, attempt.number)
    return Plan(delete=old), statuses.starting_or_running(situation, status, attempt)


def _tidy_up(situation: Context) -> Plan:
    """After the end: nothing may go on, and after a while nothing is left."""
    if has_expired(situation.job, situation.status, situation.now):
        deletions = (*cleanup.everything(situation), *cleanup.stuck_pods(situation))
    else:
        deletions = (*cleanup.unfinished_jobs(situation), *cleanup.stuck_pods(situation))
    return Plan(delete=tuple(dict.fromkeys(deletions)))


def _service_is_not_ours(situation: Context) -> bool:
    service = situation.observed.service
    return service is not None and not is_controlled_by(service, situation.job.metadata.uid)


def _blocked_by_service(situation: Context) -> Decision:
    """Without the Service the pods would have no names; taking over someone else's would break theirs."""
    message = (
        f"A Service called {situation.job.metadata.name} stands in the way and is not this job's: "
        "delete it, or create this job under another name."
    )
    status = statuses.blocked(situation, statuses.observed_generation(situation), Reason.SERVICE_NOT_OURS, message)
    return Plan(requeue_after=LOOK_AGAIN_SECONDS), status


def _service(situation: Context) -> tuple[Manifest, ...]:
    wanted = service_manifest(situation.job)
    live = situation.observed.service
    return () if live is not None and covers(live, wanted) else (wanted,)
