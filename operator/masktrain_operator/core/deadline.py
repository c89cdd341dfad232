"""`limits.activeDeadlineSeconds`: how long a job may live over all its attempts."""

from datetime import datetime, timedelta

from masktrain_operator.api.status import MaskTrainingJobStatus
from masktrain_operator.api.v1alpha1 import MaskTrainingJob


def deadline(job: MaskTrainingJob, status: MaskTrainingJobStatus) -> datetime | None:
    """None without a limit, and before the first attempt."""
    seconds = job.spec.limits.active_deadline_seconds
    if seconds is None or status.start_time is None:
        return None
    return status.start_time + timedelta(seconds=seconds)


def is_past_deadline(job: MaskTrainingJob, status: MaskTrainingJobStatus, now: datetime) -> bool:
    end = deadline(job, status)
    return end is not None and end <= now


def deadline_sentence(job: MaskTrainingJob) -> str:
    seconds = job.spec.limits.active_deadline_seconds
    return f"The job was not complete {seconds} s after its start, which is its limits.activeDeadlineSeconds."
