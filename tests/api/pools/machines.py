"""Plays the kubelets of the fake cloud's instances: a Node for each one that has booted."""

from dataclasses import dataclass, field
from typing import Any

from devcluster.oracle.clock import Clock, rfc3339
from devcluster.oracle.pools import Node
from masktrain_operator.api import labels
from tests.api.pools.api_server import ApiServer

NODES = "/api/v1/nodes"
GPU = "nvidia.com/gpu"
GPU_TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}


@dataclass
class Machines:
    """Told by the fake's life cycle. `names` and `dead`: of Nodes, by instance."""

    api: ApiServer
    clock: Clock
    names: dict[str, str] = field(default_factory=dict)
    dead: dict[str, float] = field(default_factory=dict)
    """When their power was cut."""

    def switch_on(self, node: Node) -> None:
        """The admission of the API server taints every new Node as not ready; the first heartbeat takes that away."""
        self.api.create(NODES, self._manifest(node))
        self.api.merge(f"{NODES}/{node.name}", {"spec": {"taints": [GPU_TAINT]}})
        self.names[str(node.instance_id)] = node.name

    def switch_off(self, node: Node) -> None:
        self.dead.pop(str(node.instance_id), None)
        if self.names.pop(str(node.instance_id), None) is not None:
            self.api.delete(f"{NODES}/{node.name}")

    def cut_power(self, node: Node) -> None:
        """What Kubernetes' node controller writes when heartbeats stay away."""
        self.dead[str(node.instance_id)] = self.clock.now()
        if str(node.instance_id) in self.names:
            self.api.merge(f"{NODES}/{node.name}/status", {"status": {"conditions": [self._ready("Unknown")]}})

    def remove_all(self) -> None:
        for name in self.names.values():
            self.api.delete(f"{NODES}/{name}")

    def _manifest(self, node: Node) -> dict[str, Any]:
        gpus = {GPU: str(node.pool.gpus), "pods": "110"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": node.name,
                "labels": {"node.kubernetes.io/instance-type": node.pool.shape},
                "annotations": {labels.OKE_POOL_ANNOTATION: node.pool.id},
            },
            "spec": {"providerID": node.instance_id},
            "status": {"capacity": gpus, "allocatable": gpus, "conditions": [self._ready("True")]},
        }

    def _ready(self, status: str) -> dict[str, Any]:
        return {"type": "Ready", "status": status, "lastTransitionTime": whole_seconds(self.clock.now())}


def whole_seconds(moment: float) -> str:
    """As metav1.Time."""
    return f"{str(rfc3339(moment)).partition('.')[0]}Z"
