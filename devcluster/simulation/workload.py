"""Training jobs, and pods of others, on a simulated cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from masktrain_operator.core.gangs import Gang
from masktrain_operator.core.pools.nodes import GpuPod
from masktrain_operator.core.types import Manifest

ANY_POOL = "*"
"""Admitted to wherever there is room: what a gang scheduler without node pools would say."""


@dataclass(eq=False, repr=False)
class TrainingJob:
    """A gang that computes for `seconds` once all its pods run. Times are seconds of the timeline."""

    name: str
    namespace: str = "vision"
    nodes: int = 1
    gpus_per_node: int = 1
    seconds: float = 3600.0
    priority: int = 0
    pool_ref: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    submitted: float = 0.0
    created: datetime | None = None
    admitted_to: str | None = None
    pods: list[GpuPod] = field(default_factory=list)
    running_since: float | None = None
    first_started: float | None = None
    ended: float | None = None
    attempt: int = 0

    def __repr__(self) -> str:
        return self.name

    @property
    def uid(self) -> str:
        return f"uid-of-{self.name}"

    @property
    def is_running(self) -> bool:
        return self.running_since is not None

    @property
    def delay(self) -> float | None:
        """Seconds from its submission until all its pods ran for the first time."""
        return None if self.first_started is None else self.first_started - self.submitted

    @property
    def turn(self) -> tuple[int, float, str]:
        return (-self.priority, self.submitted, self.uid)

    def gang(self) -> Gang:
        assert self.created is not None
        return Gang(
            job_uid=self.uid,
            namespace=self.namespace,
            name=self.name,
            nodes=self.nodes,
            gpus_per_node=self.gpus_per_node,
            created=self.created,
            priority=self.priority,
            pool_ref=self.pool_ref,
            node_selector=self.node_selector,
            admitted_to=self.admitted_to,
            placed_on=frozenset(pod.node for pod in self.pods),
        )


def pod_manifest(pod: GpuPod) -> Manifest:
    """As the last look before a removal reads it from the API server."""
    limits = {"nvidia.com/gpu": str(pod.gpus)}
    return {
        "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
        "spec": {"nodeName": pod.node, "containers": [{"name": "trainer", "resources": {"limits": limits}}]},
        "status": {"phase": "Running"},
    }
