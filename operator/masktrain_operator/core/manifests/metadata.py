"""Names, labels and ownership of everything made for a job."""

from collections.abc import Iterable

from masktrain_operator.api import labels
from masktrain_operator.api.labels import JOB_UID_LABEL
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.types import Manifest


def attempt_name(job: str, attempt: int) -> str:
    """Name of an attempt's Job, which is new for every attempt: no rank can join the rendezvous of a dead gang."""
    return f"{job}-{attempt}"


def master_address(namespace: str, job: str, attempt: int) -> str:
    """Host name of rank 0's pod: an Indexed Job calls its pods `<job name>-<index>`, the Service is the subdomain.

    With its namespace: until rank 0 is published, a resolver tries `<a>.<b>` as Service a of namespace b, too, and that
    may be another team's.
    """
    return f"{attempt_name(job, attempt)}-0.{job}.{namespace}.svc"


def job_labels(job: MaskTrainingJob) -> dict[str, str]:
    # The name for people, the uid for selectors: a job created anew under its name must not see the old pods.
    return {labels.JOB_LABEL: job.metadata.name, labels.JOB_UID_LABEL: job.metadata.uid}


def attempt_labels(job: MaskTrainingJob, attempt: int) -> dict[str, str]:
    return {**job_labels(job), labels.ATTEMPT_LABEL: str(attempt)}


def pool_labels(pool: str | None) -> dict[str, str]:
    """What nodes of a GPUNodePool are labelled with, and what is admitted to it; nothing without one."""
    return {labels.NODE_POOL_LABEL: pool} if pool else {}


def owner_reference(job: MaskTrainingJob) -> Manifest:
    """The garbage collector deletes what a deleted job owns; `controller` says who may change it."""
    return {
        "apiVersion": labels.API_VERSION,
        "kind": labels.KIND,
        "name": job.metadata.name,
        "uid": job.metadata.uid,
        "controller": True,
        # A deletion in the foreground then waits until the pods are gone, too.
        "blockOwnerDeletion": True,
    }


def is_controlled_by(manifest: Manifest, uid: str) -> bool:
    references = manifest.get("metadata", {}).get("ownerReferences", [])
    return any(reference.get("controller") and reference.get("uid") == uid for reference in references)


def controller_uid(body: Manifest) -> str | None:
    """The uid of the object's controller; at most one owner reference is one."""
    owners = body["metadata"].get("ownerReferences", ())
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), None)


def labelled_uid(body: Manifest) -> str | None:
    """The uid of the MaskTrainingJob that an object says it was made for: anybody may say so."""
    uid = body["metadata"].get("labels", {}).get(JOB_UID_LABEL)
    return None if uid is None else str(uid)


def own_jobs(training_job: Manifest, candidates: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """The batch Jobs among `candidates` that are the MaskTrainingJob's: in its namespace, with it as their controller.

    The API server lets an owner reference name an object of any namespace, so the uid alone proves nothing.
    """
    metadata = training_job["metadata"]
    return tuple(
        job
        for job in candidates
        if job["metadata"].get("namespace") == metadata["namespace"] and controller_uid(job) == metadata["uid"]
    )


def own_pods(training_job: Manifest, own: Iterable[Manifest], candidates: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """The pods among `candidates` whose controller is one of the job's `own` batch Jobs, or was the newest one.

    A Job may be gone before its pods are. Its uid is in the status, which only the operator writes and which outlives
    the operator, too.
    """
    metadata = training_job["metadata"]
    controllers = {job["metadata"]["uid"] for job in own} | {training_job.get("status", {}).get("attemptUid")} - {None}
    return tuple(
        pod
        for pod in candidates
        if pod["metadata"].get("namespace") == metadata["namespace"] and controller_uid(pod) in controllers
    )
