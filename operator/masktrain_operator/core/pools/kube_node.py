"""A pool's node as Kubernetes shows it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from masktrain_operator.api import labels
from masktrain_operator.core.types import Manifest

from .gpu_pods import GPU_RESOURCES, GpuPod

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

    @property
    def is_usable(self) -> bool:
        """Whether a pod could start on it now, were it not cordoned."""
        return self.ready and not self.initialising and self.gpus > 0

    @property
    def removal_begun(self) -> datetime | None:
        """When the operator cordoned it to remove it."""
        return read_time(self.annotations.get(labels.REMOVAL_ANNOTATION))

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
        gpus=sum(int(status.get("allocatable", {}).get(resource, 0)) for resource in GPU_RESOURCES),
        labels=metadata.get("labels", {}),
        annotations=metadata.get("annotations", {}),
        pods=pods,
    )


def instance_of(node: Manifest) -> str | None:
    """OCID of the instance: managed nodes have it bare, the cloud controller writes it with a scheme."""
    provider_id = node.get("spec", {}).get("providerID", "").removeprefix("oci://")
    return provider_id or None


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def read_time(text: str | None) -> datetime | None:
    """What a person may have edited: anything that is no time with a zone counts as absent."""
    try:
        moment = datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def format_time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
