"""Resources in the JSON of Oracle's APIs, and the GPU shapes of its catalogue that can train on several GPUs."""

from typing import Any, NamedTuple

from .clock import rfc3339
from .pools import Node, NodeError, Pool, PoolSettings, WorkRequest

KUBERNETES_VERSION = "v1.34.1"
IMAGE = "ocid1.image.oc1.iad.fakeimage"
SUBNET = "ocid1.subnet.oc1.iad.fakesubnet"


class Shape(NamedTuple):
    """What an instance of it has; an OCPU is two virtual CPUs."""

    gpus: int
    gpu: str
    ocpus: int
    memory_gib: int


SHAPES = {
    "VM.GPU3.1": Shape(1, "NVIDIA V100", 6, 90),
    "VM.GPU3.2": Shape(2, "NVIDIA V100", 12, 180),
    "VM.GPU3.4": Shape(4, "NVIDIA V100", 24, 360),
    "VM.GPU.A10.1": Shape(1, "NVIDIA A10", 15, 240),
    "VM.GPU.A10.2": Shape(2, "NVIDIA A10", 30, 480),
    "BM.GPU3.8": Shape(8, "NVIDIA V100", 52, 768),
    "BM.GPU.A10.4": Shape(4, "NVIDIA A10", 64, 1024),
    "BM.GPU4.8": Shape(8, "NVIDIA A100 40GB", 64, 2048),
    "BM.GPU.A100-v2.8": Shape(8, "NVIDIA A100 80GB", 128, 2048),
    "BM.GPU.H100.8": Shape(8, "NVIDIA H100", 112, 2048),
}
Json = dict[str, Any]


def node_pool(pool: Pool) -> Json:
    """A node pool with its nodes."""
    return {
        **node_pool_summary(pool),
        "nodes": [node(entry) for entry in pool.nodes],
        "nodeMetadata": {},
        "nodeEvictionNodePoolSettings": {
            "evictionGraceDuration": f"PT{pool.settings.eviction_grace_seconds / 60:.0f}M",
            "isForceDeleteAfterGraceDuration": False,
        },
    }


def node_pool_summary(pool: Pool) -> Json:
    """A node pool as lists show it."""
    settings = pool.settings
    return {
        "id": settings.id,
        "lifecycleState": pool.lifecycle_state,
        "lifecycleDetails": pool.attention,
        "compartmentId": settings.compartment_id,
        "clusterId": settings.cluster_id,
        "name": settings.name,
        "kubernetesVersion": KUBERNETES_VERSION,
        "nodeShape": settings.shape,
        "nodeSourceDetails": {"sourceType": "IMAGE", "imageId": IMAGE},
        "initialNodeLabels": [{"key": key, "value": value} for key, value in settings.labels.items()],
        "nodeConfigDetails": {"size": pool.size, "placementConfigs": _placement(settings)},
        "freeformTags": {},
        "definedTags": {},
        "systemTags": {},
    }


def _placement(settings: PoolSettings) -> list[Json]:
    preemptible = {"preemptibleNodeConfig": _preemption("preemptionAction")} if settings.preemptible else {}
    domains = settings.availability_domains
    return [{"availabilityDomain": domain, "subnetId": SUBNET, **preemptible} for domain in domains]


def _preemption(key: str) -> Json:
    return {key: {"type": "TERMINATE", "isPreserveBootVolume": False}}


def node(entry: Node) -> Json:
    """An entry of a pool's `nodes`. A phantom, or one whose instance is not there yet, has no `id`."""
    shown: Json = {
        "name": entry.name,
        "kubernetesVersion": KUBERNETES_VERSION,
        "availabilityDomain": entry.availability_domain,
        "faultDomain": entry.fault_domain,
        "subnetId": SUBNET,
        "nodePoolId": entry.pool.id,
        "lifecycleState": entry.state,
        "lifecycleDetails": "",
    }
    if entry.instance_id is not None:
        shown |= {"id": entry.instance_id, "privateIp": entry.private_ip}
    if entry.error is not None:
        shown["nodeError"] = _node_error(entry.error)
    return shown


def _node_error(error: NodeError) -> Json:
    # Kebab case is no slip: the SDK's model maps this one key so.
    return {"code": error.code, "message": error.message, "status": "500", "opc-request-id": error.request_id}


def work_request(request: WorkRequest) -> Json:
    """A work request, the same in lists."""
    shown = {
        "id": request.id,
        "operationType": request.operation,
        "status": request.status,
        "compartmentId": request.pool.compartment_id,
        "resources": _resources(request),
        "timeAccepted": rfc3339(request.time_accepted),
        "timeStarted": rfc3339(request.time_started),
        "timeFinished": rfc3339(request.time_finished),
    }
    return {key: value for key, value in shown.items() if value is not None}


def _resources(request: WorkRequest) -> list[Json]:
    pool_action = {"SUCCEEDED": "UPDATED", "FAILED": "FAILED"}.get(request.status, "IN_PROGRESS")
    return [
        _resource(pool_action, "nodepool", request.pool.id, "nodePools"),
        *(_resource(action, "instance", ocid, "instances") for ocid, action in request.instances.items()),
    ]


def _resource(action: str, kind: str, ocid: str, path: str) -> Json:
    return {"actionType": action, "entityType": kind, "identifier": ocid, "entityUri": f"/{path}/{ocid}"}


def work_request_errors(request: WorkRequest) -> list[Json]:
    """Why it failed."""
    return [
        {"code": error.code, "message": error.message, "timestamp": rfc3339(time)} for time, error in request.errors
    ]


def instance(entry: Node) -> Json:
    """A Compute instance."""
    settings = entry.pool
    shown: Json = {
        "id": entry.instance_id,
        "displayName": entry.name,
        "compartmentId": settings.compartment_id,
        "availabilityDomain": entry.availability_domain,
        "faultDomain": entry.fault_domain,
        "lifecycleState": entry.instance_state,
        "region": "iad",
        "shape": settings.shape,
        "timeCreated": rfc3339(entry.time_created),
        "metadata": {"oke-pool-id": settings.id, "oke-cluster-id": settings.cluster_id},
        "freeformTags": {},
        "definedTags": {},
    }
    if settings.preemptible:
        shown["preemptibleInstanceConfig"] = _preemption("preemptionAction")
    return shown


def shape(name: str) -> Json:
    """A shape, as far as it matters to cost and scheduling."""
    known = SHAPES.get(name, Shape(gpus=0, gpu="", ocpus=1, memory_gib=16))
    return {
        "shape": name,
        "gpus": known.gpus,
        "gpuDescription": known.gpu,
        "ocpus": known.ocpus,
        "memoryInGBs": known.memory_gib,
        "billingType": "PAID",
        # Of the GPU shapes only the virtual A10 machines cost nothing while they are stopped.
        "isBilledForStoppedInstance": known.gpus > 0 and not name.startswith("VM.GPU.A10."),
    }
