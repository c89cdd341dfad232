"""The batch/v1 Job of one attempt, and the headless Service that gives the pods of a job their host names."""

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.types import Manifest, PlanSettings
from masktrain_trainer.config import PROGRESS_PORT, RENDEZVOUS_PORT, ExitCode

from .metadata import attempt_labels, attempt_name, job_labels, owner_reference, pool_labels
from .pod import CONTAINER, pod_template


def job_manifest(job: MaskTrainingJob, attempt: int, settings: PlanSettings, pool: str | None = None) -> Manifest:
    """A whole gang: any lost pod fails the Job, and nothing is replaced in it. `pool`: where it is admitted."""
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": attempt_name(job.metadata.name, attempt),
            "namespace": job.metadata.namespace,
            "labels": attempt_labels(job, attempt) | pool_labels(pool),
            "ownerReferences": [owner_reference(job)],
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": job.spec.compute.nodes,
            "parallelism": job.spec.compute.nodes,
            # Attempts are counted by the operator, which knows what was charged and what was stored.
            "backoffLimit": 0,
            # `TerminatingOrFailed` would start a second writer beside a pod that is still storing its checkpoint.
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": _failure_rules()},
            "template": pod_template(job, attempt, settings, pool),
        },
    }


def _failure_rules() -> list[Manifest]:
    """`backoffLimit: 0` would fail the Job anyway; a rule that matches leaves the cause in the Job's condition."""
    codes = [int(ExitCode.USER_ERROR), int(ExitCode.STOPPED), int(ExitCode.FENCED)]
    on_exit_codes = {"containerName": CONTAINER, "operator": "In", "values": codes}
    return [
        {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        {"action": "FailJob", "onExitCodes": on_exit_codes},
    ]


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
