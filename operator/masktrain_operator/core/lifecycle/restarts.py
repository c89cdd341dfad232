"""The account of a job's attempts, and what follows one that ended: another at once, another later, or none.

Progress is a newer verified checkpoint than there was when the attempt started: steps that were not stored are lost
with the attempt. After progress the next attempt starts at once. Without it the attempts move apart, and those that
crashed or hung are charged to the restart budget, `limits.maxRestartsWithoutProgress`. Preemptions never are.
"""

from datetime import datetime

from masktrain_operator.api.conditions import FailureKind, Reason
from masktrain_operator.api.status import LastFailure, MaskTrainingJobStatus, Restarts
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import backoff
from masktrain_operator.core.decisions import Failed, Restarting
from masktrain_trainer.config import Phase

from .causes import Cause

CHARGED = (FailureKind.HUNG, FailureKind.CRASHED)
PREEMPTIONS = (FailureKind.PREEMPTED, FailureKind.STOPPED, FailureKind.FENCED)
"""Nobody's fault: they move the next attempt away, and never end the job."""


def after_end(context: Context, status: MaskTrainingJobStatus, attempt: int, cause: Cause) -> Restarting | Failed:
    """What follows the end of that attempt, which `status` does not account for yet."""
    restarts = with_failure(status, attempt, cause, context.now)
    allowed = context.job.spec.limits.max_restarts_without_progress
    if cause.kind == FailureKind.USER_ERROR:
        return Failed(cause.reason, cause.message, restarts)
    if restarts.without_progress > allowed:
        message = (
            f"{restarts.without_progress} attempts without a newer checkpoint, limits.maxRestartsWithoutProgress "
            f"allows {allowed} restarts; the last one ({cause.reason}): {cause.message}"
        )
        return Failed(Reason.RESTART_BUDGET_EXHAUSTED, message, restarts)
    return Restarting(Reason.ATTEMPT_FAILED, f"Attempt {attempt} ended: {cause.message}", restarts)


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
    restarts = {"total": attempt, "step_at_start": newest_step(status), "retry_time": None}
    progress = status.progress
    if progress is not None:
        stale = {"phase": Phase.STARTING, "detail": None, "images_per_second": None, "eta_seconds": None}
        progress = progress.model_copy(update=stale)
    return status.model_copy(
        update={
            "attempt": attempt,
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
