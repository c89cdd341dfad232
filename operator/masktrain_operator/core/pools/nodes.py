"""A pool's Nodes as Kubernetes shows them, and the pods on them that hold GPUs: they keep a node."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from masktrain_operator.api import labels
from masktrain_operator.core.pods import is_terminal
from masktrain_operator.core.resources import amount, asked_by_pod
from masktrain_operator.core.times import parse_time, read_time
from masktrain_operator.core.types import Manifest

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
SLICED_GPU_PREFIX = "nvidia.com/mig-"
GPUS = "gpus"
MOST_GPUS_COUNTED = 1_000_000
"""Far beyond any machine."""


@dataclass(frozen=True)
class GpuPod:
    """An unfinished pod that holds GPUs, or will, bound to a node.

    `job_uid`: of the MaskTrainingJob it works for, if any: of its own batch Jobs, whatever its labels say.
    """

    namespace: str
    name: str
    uid: str
    node: str
    gpus: int
    job_uid: str | None = None


def gpu_pod(pod: Manifest) -> GpuPod | None:
    """As somebody's; None for pods that are finished, bound to no node, or hold no GPU.

    A resource claim, of which nobody here can tell what it is for, counts as one GPU while the pod runs.
    """
    spec, metadata, phase = pod["spec"], pod["metadata"], pod.get("status", {}).get("phase")
    if is_terminal(pod) or not spec.get("nodeName"):
        return None
    # Before, anybody may have written any node and claims that do not exist: no kubelet ever starts such a pod, so it
    # would keep the node for ever, past every quota. Running, the kubelet has given it what it claims.
    claimed = 1 if phase == "Running" and spec.get("resourceClaims") else 0
    # What is asked for and not what is used: a GPU does nothing while data loads or a checkpoint is stored.
    gpus = max(gpus_requested(spec), claimed)
    if gpus == 0:
        return None
    return GpuPod(metadata["namespace"], metadata["name"], metadata["uid"], spec["nodeName"], gpus)


def gpus_requested(spec: Manifest) -> int:
    """A slice may be part of any GPU: it counts as one."""
    return int(asked_by_pod(spec, _gpus_of).get(GPUS, 0))


def _gpus_of(container: Manifest) -> Mapping[str, Decimal]:
    return {GPUS: Decimal(sum(_amounts(container.get("resources", {}))))}


def _amounts(resources: Manifest) -> Iterator[int]:
    """Extended resources are whole numbers, and their requests equal their limits."""
    for name, quantity in {**resources.get("requests", {}), **resources.get("limits", {})}.items():
        if name in GPU_RESOURCES:
            yield count_of(quantity, unreadable=1)
        elif name.startswith(SLICED_GPU_PREFIX) and count_of(quantity, unreadable=1):
            yield 1


def count_of(quantity: object, *, unreadable: int) -> int:
    """A whole resource.Quantity, however it is written; at most `MOST_GPUS_COUNTED`.

    `unreadable`: what counts for something that is no quantity.
    """
    try:
        return math.ceil(min(max(amount(quantity), Decimal(0)), Decimal(MOST_GPUS_COUNTED)))
    except ValueError:
        return unreadable


# Set until the cloud controller and the network are ready: GPUs may show before a pod could start.
STARTUP_TAINTS = ("node.cloudprovider.kubernetes.io/uninitialized", "node.kubernetes.io/not-ready")
TRUE = "true"


@dataclass(frozen=True)
class KubeNode:
    """`pods`: the unfinished pods on it that ask for GPUs; None while that is not known, which keeps the node."""

    name: str
    uid: str
    resource_version: str
    instance_id: str
    ready: bool
    ready_changed: datetime
    """When the Ready condition last turned."""
    initialising: bool
    cordoned: bool
    gpus: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    pods: tuple[GpuPod, ...] | None = None
    storage: Decimal | None = None
    """Bytes of ephemeral storage that pods may have; None where the kubelet says nothing of it."""

    @property
    def is_usable(self) -> bool:
        """Whether a pod could start on it now, were it not cordoned."""
        return self.ready and not self.initialising and self.gpus > 0

    @property
    def removal_begun(self) -> datetime | None:
        """When the operator cordoned it to remove it."""
        return read_time(self.annotations.get(labels.REMOVAL_ANNOTATION))

    @property
    def is_doomed(self) -> bool:
        """Whether Oracle was, or may have been, asked to terminate it."""
        # By instance, as below.
        return self.annotations.get(labels.DOOMED_ANNOTATION) == self.instance_id

    @property
    def idle_since(self) -> datetime | None:
        return read_time(self.annotations.get(labels.IDLE_SINCE_ANNOTATION))

    @property
    def is_kept(self) -> bool:
        """Whether a person asked for it to stay."""
        keeps = (labels.KEEP_ANNOTATION, labels.AUTOSCALER_KEEP_ANNOTATION)
        return any(self.annotations.get(key) == TRUE for key in keeps)

    @property
    def was_added_by_operator(self) -> bool:
        # By instance: Nodes may be named by IP addresses, and a machine that gets one again must not inherit the mark.
        return self.annotations.get(labels.ADDED_ANNOTATION) == self.instance_id


def kube_node(node: Manifest, pods: tuple[GpuPod, ...] | None) -> KubeNode:
    metadata, spec, status = node["metadata"], node.get("spec", {}), node.get("status", {})
    ready: Manifest = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), {})
    created = metadata["creationTimestamp"]
    return KubeNode(
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        instance_id=instance_of(node) or "",
        ready=ready.get("status") == "True",
        ready_changed=parse_time(ready.get("lastTransitionTime", created)),
        initialising=any(taint["key"] in STARTUP_TAINTS for taint in spec.get("taints", ())),
        cordoned=spec.get("unschedulable", False),
        gpus=sum(count_of(status.get("allocatable", {}).get(gpu, 0), unreadable=0) for gpu in GPU_RESOURCES),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        pods=pods,
        storage=_bytes(status.get("allocatable", {}).get("ephemeral-storage")),
    )


def _bytes(quantity: object) -> Decimal | None:
    try:
        return None if quantity is None else amount(quantity)
    except ValueError:
        return None


def instance_of(node: Manifest) -> str | None:
    """OCID of the instance: managed nodes have it bare, the cloud controller writes it with a scheme."""
    # Never by the Node's name: on some clusters it is an IP address, on others the instance's display name.
    provider_id = node.get("spec", {}).get("providerID", "").removeprefix("oci://")
    return provider_id or None
