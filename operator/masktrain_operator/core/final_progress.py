"""The last words of a trainer container: its termination message is a `Progress` as JSON.

It is a hint only. It vanishes with the pod, and after a crash it holds the end of the log instead.
"""

from pydantic import ValidationError

from masktrain_trainer.config import Progress

from . import pods
from .attempts import Attempt
from .rank_zero import newest_rank_zero
from .types import Observed


def parse_final_progress(message: str) -> Progress | None:
    try:
        return Progress.model_validate_json(message)
    except ValidationError:
        return None


def newest_progress(attempt: Attempt, observed: Observed) -> Progress | None:
    """What rank 0 of the attempt said last: in its termination message, else in its last answer."""
    pod = newest_rank_zero(attempt.pods)
    ended = pods.termination(pod) if pod else None
    said = [parse_final_progress(ended.message) if ended else None, observed.progress]
    return next((progress for progress in said if progress and progress.attempt == attempt.number), None)
