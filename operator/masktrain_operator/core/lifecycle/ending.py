"""The end of an attempt, and the end of a job."""

from masktrain_operator.api.conditions import ConditionType, FailureKind, Reason
from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.core.attempts import Attempt
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import BrokenLimit, giving_up_time, is_stuck
from masktrain_operator.core.status import transitions as statuses
from masktrain_operator.core.status.conditions import set_condition
from masktrain_operator.core.status.cost import close_attempt_cost
from masktrain_operator.core.types import Plan
from masktrain_trainer.config import FailureReason

from . import cleanup
from .causes import GANG_INCOMPLETE, Cause, cause_of, cause_of_forced_end, cause_of_half_gang, last_words_time
from .launch import Decision
from .restarts import is_exhausted, record_failure


def cause_of_end(situation: Context, attempt: Attempt) -> Cause | None:
    """Why the attempt is over, None while it is not."""
    if attempt.has_failed:
        waits_until = last_words_time(attempt)
        return None if waits_until and situation.now < waits_until else cause_of(attempt)
    stuck = next((pod for pod in attempt.pods if is_stuck(pod, situation.now)), None)
    if stuck is not None:
        return cause_of_forced_end(stuck)
    gives_up = giving_up_time(situation, attempt)
    return cause_of_half_gang(situation, attempt) if gives_up is not None and gives_up <= situation.now else None


def end_attempt(situation: Context, status: MaskTrainingJobStatus, attempt: Attempt, cause: Cause) -> Decision:
    """Account for the end and decide whether there is another attempt; it is created by a later plan."""
    status = record_failure(close_attempt_cost(status), attempt.number, cause, situation.now)
    if cause.kind == FailureKind.USER_ERROR:
        return Plan(), statuses.failed(
            situation, _with_dataset_verdict(situation, status, cause), cause.reason, cause.message
        )
    allowed = situation.job.spec.limits.max_restarts_without_progress
    if is_exhausted(status, allowed):
        message = _exhausted_sentence(status, allowed, cause)
        return Plan(), statuses.failed(situation, status, Reason.RESTART_BUDGET_EXHAUSTED, message)
    message = f"Attempt {attempt.number} ended: {cause.message}"
    incomplete = cleanup.unfinished_jobs(situation) if cause.reason == GANG_INCOMPLETE else ()
    return Plan(delete=incomplete, requeue_after=0), statuses.restarting(
        situation, status, Reason.ATTEMPT_FAILED, message
    )


def end_at_limit(situation: Context, status: MaskTrainingJobStatus, limit: BrokenLimit) -> Decision:
    """Its pods are asked to stop, so that they leave a checkpoint, and nothing follows."""
    reason, message = limit
    failed = statuses.failed(situation, status, reason, message)
    return Plan(delete=cleanup.unfinished_jobs(situation)), failed


def _with_dataset_verdict(situation: Context, status: MaskTrainingJobStatus, cause: Cause) -> MaskTrainingJobStatus:
    if cause.reason != FailureReason.INVALID_DATASET:
        return status
    kind = ConditionType.DATASET_VERIFIED
    return set_condition(status, kind, False, reason=cause.reason, message=cause.message, now=situation.now)


def _exhausted_sentence(status: MaskTrainingJobStatus, allowed: int, cause: Cause) -> str:
    failures = status.restarts.without_progress
    return (
        f"{failures} attempts without a newer checkpoint, limits.maxRestartsWithoutProgress allows {allowed} restarts; "
        f"the last one ({cause.reason}): {cause.message}"
    )
