"""Labels and ownership of everything made for a job."""

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob

from .types import Manifest


def job_labels(job: MaskTrainingJob) -> dict[str, str]:
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
        "blockOwnerDeletion": True,
    }


def is_controlled_by(manifest: Manifest, uid: str) -> bool:
    references = manifest.get("metadata", {}).get("ownerReferences", [])
    return any(reference.get("controller") and reference.get("uid") == uid for reference in references)
