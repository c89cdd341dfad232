"""What is deleted, and when: everything that no longer serves a person or a later attempt.

Each deletion is bound to the uid that was seen, so that an object of the same name made since then is never hit.
"""

from masktrain_operator.core import jobs
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import forced_end, verdict_of
from masktrain_operator.core.manifests.metadata import is_controlled_by
from masktrain_operator.core.types import Deletion, Manifest


def delete_job(job: Manifest) -> Deletion:
    """With its pods, gracefully: the garbage collector asks them to end."""
    return _deletion("batch/v1", "Job", job)


def delete_service(service: Manifest) -> Deletion:
    return _deletion("v1", "Service", service)


def delete_pod(pod: Manifest) -> Deletion:
    return _deletion("v1", "Pod", pod)


def delete_pod_by_force(pod: Manifest) -> Deletion:
    """Remove the object without waiting for a kubelet to confirm that its processes are gone."""
    return _deletion("v1", "Pod", pod, grace_seconds=0)


def _deletion(api_version: str, kind: str, manifest: Manifest, grace_seconds: int | None = None) -> Deletion:
    metadata = manifest["metadata"]
    return Deletion(api_version, kind, metadata["namespace"], metadata["name"], metadata["uid"], grace_seconds)


KEPT_ATTEMPTS = 2
"""The newest attempts whose Jobs stay, because the logs of their pods explain what happened."""


def old_jobs(context: Context, newest: int) -> tuple[Deletion, ...]:
    """Jobs of attempts too old to be of use, counted from attempt number `newest`."""
    return tuple(
        delete_job(job)
        for job in context.observed.jobs
        if jobs.attempt_number(job) <= newest - KEPT_ATTEMPTS and jobs.is_finished(job) and not is_going(job)
    )


def stuck_pods(context: Context) -> tuple[Deletion, ...]:
    """Pods that do not end, by force, and the Jobs that wait for them."""
    stuck = [pod for pod in context.observed.pods if verdict_of([forced_end(pod)], context.now)]
    # The Job goes first: its controller would wait for the pod and never say Failed.
    attempts = {jobs.attempt_number(pod) for pod in stuck}
    waiting = [
        job
        for job in context.observed.jobs
        if jobs.attempt_number(job) in attempts and not jobs.is_finished(job) and not is_going(job)
    ]
    return (*map(delete_job, waiting), *map(delete_pod_by_force, stuck))


def unfinished_jobs(context: Context) -> tuple[Deletion, ...]:
    """Jobs that would go on although their MaskTrainingJob has ended."""
    return tuple(
        delete_job(job)
        for job in context.observed.jobs
        if not (jobs.is_finished(job) or jobs.failure(job) or is_going(job))
    )


def everything(context: Context) -> tuple[Deletion, ...]:
    """Jobs with their pods, pods that lost their Job, and the Service; the resource itself stays."""
    observed = context.observed
    # The garbage collector takes a Job's pods with it; those without one would stay for ever.
    with_job = {jobs.attempt_number(job) for job in observed.jobs}
    orphans = [pod for pod in observed.pods if jobs.attempt_number(pod) not in with_job and not is_going(pod)]
    remaining = [job for job in observed.jobs if not is_going(job)]
    return (*map(delete_job, remaining), *map(delete_pod, orphans), *_own_service(context))


def _own_service(context: Context) -> tuple[Deletion, ...]:
    service = context.observed.service
    if service is None or is_going(service) or not is_controlled_by(service, context.job.metadata.uid):
        return ()
    return (delete_service(service),)


def is_going(manifest: Manifest) -> bool:
    return manifest["metadata"].get("deletionTimestamp") is not None
