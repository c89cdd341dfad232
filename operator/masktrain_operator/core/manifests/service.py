"""The headless Service that gives the pods of a job their host names."""

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import PROGRESS_PORT, RENDEZVOUS_PORT

from .metadata import job_labels, owner_reference


def service_manifest(job: MaskTrainingJob) -> Manifest:
    """Ready or not, every pod is published: the rendezvous takes place before any pod is ready."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": job.metadata.name,
            "namespace": job.metadata.namespace,
            "labels": job_labels(job),
            "ownerReferences": [owner_reference(job)],
        },
        "spec": {
            "clusterIP": "None",
            # Ready means that `/progress` answers, which is after the rendezvous.
            "publishNotReadyAddresses": True,
            "selector": {labels.JOB_UID_LABEL: job.metadata.uid},
            "ports": [_service_port("http", PROGRESS_PORT), _service_port("rendezvous", RENDEZVOUS_PORT)],
        },
    }


def _service_port(name: str, number: int) -> Manifest:
    return {"name": name, "port": number, "targetPort": number, "protocol": "TCP"}


def covers(live: object, wanted: object) -> bool:
    """Whether `live` says all that `wanted` says; what the API server added to it is no difference."""
    if isinstance(wanted, dict):
        return isinstance(live, dict) and all(key in live and covers(live[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(live, list) and len(live) == len(wanted) and all(map(covers, live, wanted))
    return live == wanted
