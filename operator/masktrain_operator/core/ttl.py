"""`limits.ttlSecondsAfterFinished`: when the traces of a finished job go.

The resource itself stays with its status: whatever keeps a repository applied would create it again, and train again.
"""

from datetime import datetime, timedelta

from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob


def expiry(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> datetime | None:
    """None without a limit, and before the end."""
    seconds = job.spec.limits.ttl_seconds_after_finished
    if seconds is None or status.completion_time is None:
        return None
    return status.completion_time + timedelta(seconds=seconds)


def has_expired(job: MaskTrainingJob, status: MaskTrainingJobStatus, now: datetime) -> bool:
    end = expiry(job, status)
    return end is not None and end <= now
