"""When to look again although nothing is seen to change: the moments that only a clock brings."""

from collections.abc import Iterator
from datetime import datetime

from masktrain_operator.api.status import MaskTrainingJobStatus

from .conditions import is_finished
from .failures import last_words_time
from .forced_end import forced_end_time
from .half_gang import giving_up_time
from .limits import deadline, start_deadline
from .situation import Situation
from .status import speaks
from .ttl import expiry


def requeue_after(situation: Situation, status: MaskTrainingJobStatus) -> float | None:
    """Seconds until the plan may be another one, given the status it leaves; None if that needs an event."""
    waits = [(moment - situation.now).total_seconds() for moment in _moments(situation, status)]
    coming = [wait for wait in waits if wait > 0]
    if speaks(situation) and not is_finished(status):
        coming.append(situation.settings.progress_interval_seconds)
    return min(coming, default=None)


def _moments(situation: Situation, status: MaskTrainingJobStatus) -> Iterator[datetime]:
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
