"""What follows a failed attempt: at once, later, or never again.

Progress is a newer verified checkpoint than there was when the attempt started: steps that were not stored are lost
with the attempt. After progress the next attempt starts at once. Without it the attempts move apart, and those that
crashed or hung are counted against `limits.maxRestartsWithoutProgress`. Preemptions are never counted.
"""

from datetime import datetime, timedelta

from masktrain_operator.api.conditions import FailureKind
from masktrain_operator.api.status import LastFailure, MaskTrainingJobStatus, Restarts

from .causes import Cause

FIRST_BACKOFF = timedelta(seconds=10)
LONGEST_BACKOFF = timedelta(seconds=300)


def record_failure(status: MaskTrainingJobStatus, attempt: int, cause: Cause, now: datetime) -> MaskTrainingJobStatus:
    """Account for the end of an attempt. To be done once per attempt, with its last checkpoint in the status."""
    before = status.restarts
    progressed = newest_step(status) > before.step_at_start
    crashes = 0 if progressed else before.without_progress + int(is_charged(cause))
    preemptions = 0 if progressed else before.preemptions_without_progress + int(is_preemption(cause))
    restarts = Restarts(
        total=before.total,
        without_progress=crashes,
        preemptions_without_progress=preemptions,
        step_at_start=before.step_at_start,
        last_failure=LastFailure(
            attempt=attempt, kind=cause.kind.value, reason=cause.reason, message=cause.message, time=now
        ),
        retry_time=now + backoff(crashes + preemptions),
    )
    return status.model_copy(update={"restarts": restarts})


def record_finality(status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """No attempt follows."""
    return status.model_copy(update={"restarts": status.restarts.model_copy(update={"retry_time": None})})


def record_start(status: MaskTrainingJobStatus, attempt: int) -> MaskTrainingJobStatus:
    """A new attempt: from here on its progress counts."""
    started = status.restarts.model_copy(
        update={"total": attempt, "step_at_start": newest_step(status), "retry_time": None}
    )
    return status.model_copy(update={"attempt": attempt, "restarts": started})


def backoff(ends_without_progress: int) -> timedelta:
    """10 s, doubling up to 5 minutes; nothing after progress."""
    if ends_without_progress == 0:
        return timedelta(0)
    doublings: int = min(ends_without_progress - 1, 10)
    return min(FIRST_BACKOFF * (1 << doublings), LONGEST_BACKOFF)


def is_charged(cause: Cause) -> bool:
    return cause.kind in (FailureKind.HUNG, FailureKind.CRASHED)


def is_preemption(cause: Cause) -> bool:
    return cause.kind in (FailureKind.PREEMPTED, FailureKind.STOPPED)


def is_exhausted(status: MaskTrainingJobStatus, allowed: int) -> bool:
    return status.restarts.without_progress > allowed


def newest_step(status: MaskTrainingJobStatus) -> int:
    """Step of the newest verified checkpoint, 0 without one."""
    last = status.checkpoints.last
    return last.step if last else 0
