"""Deletions of single objects, each bound to the uid that was seen."""

from .types import Deletion, Manifest


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
