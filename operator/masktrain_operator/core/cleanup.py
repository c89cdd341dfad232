"""What is deleted, and when: everything that no longer serves a person or a later attempt."""

from . import jobs
from .deletions import delete_job, delete_pod, delete_pod_by_force, delete_service
from .forced_end import is_stuck
from .metadata import is_controlled_by
from .situation import Situation
from .types import Deletion, Manifest

KEPT_ATTEMPTS = 2
"""The newest attempts whose Jobs stay, because the logs of their pods explain what happened."""


def old_jobs(situation: Situation, newest: int) -> tuple[Deletion, ...]:
    """Jobs of attempts too old to be of use, counted from attempt number `newest`."""
    return tuple(
        delete_job(job)
        for job in situation.observed.jobs
        if jobs.attempt_number(job) <= newest - KEPT_ATTEMPTS and jobs.is_finished(job) and not is_going(job)
    )


def stuck_pods(situation: Situation) -> tuple[Deletion, ...]:
    """Pods that do not end, by force, and the Jobs that wait for them."""
    stuck = [pod for pod in situation.observed.pods if is_stuck(pod, situation.now)]
    attempts = {jobs.attempt_number(pod) for pod in stuck}
    waiting = [
        job
        for job in situation.observed.jobs
        if jobs.attempt_number(job) in attempts and not jobs.is_finished(job) and not is_going(job)
    ]
    return (*map(delete_job, waiting), *map(delete_pod_by_force, stuck))


def unfinished_jobs(situation: Situation) -> tuple[Deletion, ...]:
    """Jobs that would go on although their MaskTrainingJob has ended."""
    return tuple(
        delete_job(job)
        for job in situation.observed.jobs
        if not (jobs.is_finished(job) or jobs.failure(job) or is_going(job))
    )


def everything(situation: Situation) -> tuple[Deletion, ...]:
    """Jobs with their pods, pods that lost their Job, and the Service; the resource itself stays."""
    observed = situation.observed
    with_job = {jobs.attempt_number(job) for job in observed.jobs}
    orphans = [pod for pod in observed.pods if jobs.attempt_number(pod) not in with_job and not is_going(pod)]
    remaining = [job for job in observed.jobs if not is_going(job)]
    return (*map(delete_job, remaining), *map(delete_pod, orphans), *_own_service(situation))


def _own_service(situation: Situation) -> tuple[Deletion, ...]:
    service = situation.observed.service
    if service is None or is_going(service) or not is_controlled_by(service, situation.job.metadata.uid):
        return ()
    return (delete_service(service),)


def is_going(manifest: Manifest) -> bool:
    return manifest["metadata"].get("deletionTimestamp") is not None
