"""The pods of an attempt: one trainer container on each node, within Pod Security's `restricted` profile."""

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_trainer.config import PROGRESS_PORT, RENDEZVOUS_PORT

from .environment import environment
from .metadata import attempt_labels, pool_labels
from .types import Manifest, PlanSettings
from .volumes import volume_mounts, volumes

CONTAINER = "trainer"
PREEMPTIBLE_TAINT = "oci.oraclecloud.com/oke-is-preemptible"
NODE_LOSS_SECONDS = 60
"""How long a pod stays bound to a node that is not ready or not reachable (Kubernetes' own default is 300)."""
_USER = 65532


def pod_template(job: MaskTrainingJob, attempt: int, settings: PlanSettings, pool: str | None = None) -> Manifest:
    """`pool`: the GPUNodePool whose nodes the pods are confined to."""
    metadata = {"labels": attempt_labels(job, attempt) | pool_labels(pool)}
    return {"metadata": metadata, "spec": _pod_spec(job, attempt, settings, pool)}


def _pod_spec(job: MaskTrainingJob, attempt: int, settings: PlanSettings, pool: str | None) -> Manifest:
    return {
        "subdomain": job.metadata.name,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": job.spec.limits.stop_grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(),
        "affinity": _one_pod_per_node(job),
        "tolerations": _tolerations(job, pool),
        "containers": [_container(job, attempt, settings)],
        "volumes": volumes(job),
        **_as_the_user_says(job, pool),
    }


def _as_the_user_says(job: MaskTrainingJob, pool: str | None) -> Manifest:
    compute = job.spec.compute
    fields = {
        "nodeSelector": compute.node_selector | pool_labels(pool),
        "priorityClassName": compute.priority_class_name,
        "serviceAccountName": compute.service_account_name,
        "imagePullSecrets": [{"name": secret.name} for secret in compute.image_pull_secrets],
    }
    return {key: value for key, value in fields.items() if value}


def _container(job: MaskTrainingJob, attempt: int, settings: PlanSettings) -> Manifest:
    return {
        "name": CONTAINER,
        "image": job.spec.compute.image or settings.trainer_image,
        "imagePullPolicy": settings.image_pull_policy,
        "args": ["supervise"],
        "env": environment(job, attempt),
        "ports": [_port("http", PROGRESS_PORT), _port("rendezvous", RENDEZVOUS_PORT)],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 2, "timeoutSeconds": 2},
        "resources": _resources(job),
        "securityContext": _container_security(),
        # A crash that leaves no message is then explained by the end of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": volume_mounts(job),
    }


def _port(name: str, number: int) -> Manifest:
    return {"name": name, "containerPort": number, "protocol": "TCP"}


def _resources(job: MaskTrainingJob) -> Manifest:
    compute = job.spec.compute
    gpus = {compute.gpu_resource: compute.gpus_per_node}
    return {"requests": {**compute.resources.requests, **gpus}, "limits": {**compute.resources.limits, **gpus}}


def _pod_security() -> Manifest:
    return {
        "runAsNonRoot": True,
        "runAsUser": _USER,
        "runAsGroup": _USER,
        "fsGroup": _USER,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    }


def _container_security() -> Manifest:
    return {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def _one_pod_per_node(job: MaskTrainingJob) -> Manifest:
    selector = {"matchLabels": {labels.JOB_UID_LABEL: job.metadata.uid}}
    term = {"labelSelector": selector, "topologyKey": "kubernetes.io/hostname"}
    return {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


def _tolerations(job: MaskTrainingJob, pool: str | None) -> list[Manifest]:
    """On a pool of preemptible nodes their taint too: losing a node is what attempts are for."""
    users = job.spec.compute.tolerations
    taints = [*_gpu_taints(job), *([PREEMPTIBLE_TAINT] if pool else [])]
    return [
        *({"key": taint, "operator": "Exists", "effect": "NoSchedule"} for taint in taints),
        _until_lost("node.kubernetes.io/not-ready"),
        _until_lost("node.kubernetes.io/unreachable"),
        *(toleration.model_dump(mode="json", by_alias=True, exclude_none=True) for toleration in users),
    ]


def _gpu_taints(job: MaskTrainingJob) -> list[str]:
    """GPU nodes are tainted with their resource's name; slices of NVIDIA GPUs (MIG) keep the taint of the whole."""
    return list(dict.fromkeys(("nvidia.com/gpu", job.spec.compute.gpu_resource)))


def _until_lost(taint: str) -> Manifest:
    return {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": NODE_LOSS_SECONDS}
