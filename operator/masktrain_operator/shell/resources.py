"""The kinds of objects that the operator touches: where the API serves them."""

from dataclasses import dataclass
from typing import Final

from masktrain_operator.api import labels


@dataclass(frozen=True)
class ResourceKind:
    """One kind. `selector` limits what is listed and watched to objects of ours."""

    group: str
    version: str
    kind: str
    plural: str
    selector: str = ""
    subresources: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


OWNED: Final = labels.JOB_UID_LABEL
TRAINING_JOBS: Final = ResourceKind(labels.GROUP, labels.VERSION, labels.KIND, labels.PLURAL, subresources=("status",))
JOBS: Final = ResourceKind("batch", "v1", "Job", "jobs", OWNED)
PODS: Final = ResourceKind("", "v1", "Pod", "pods", OWNED)
SERVICES: Final = ResourceKind("", "v1", "Service", "services", OWNED)
EVENTS: Final = ResourceKind("", "v1", "Event", "events")

LEASES: Final = ResourceKind("coordination.k8s.io", "v1", "Lease", "leases")
SECRETS: Final = ResourceKind("", "v1", "Secret", "secrets")
NODE_POOLS: Final = ResourceKind(
    labels.GROUP, labels.VERSION, labels.POOL_KIND, labels.POOL_PLURAL, subresources=("status",), namespaced=False
)
NODES: Final = ResourceKind("", "v1", "Node", "nodes", namespaced=False)
PRIORITY_CLASSES: Final = ResourceKind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", namespaced=False)

WATCHED: Final = (TRAINING_JOBS, JOBS, PODS, SERVICES)
WATCHED_FOR_POOLS: Final = (NODE_POOLS, NODES, PRIORITY_CLASSES)
"""Cluster-wide; only an operator that may manage node pools may read them."""
BY_NAME: Final = {
    (kind.api_version, kind.kind): kind for kind in (*WATCHED, *WATCHED_FOR_POOLS, EVENTS, LEASES, SECRETS)
}
