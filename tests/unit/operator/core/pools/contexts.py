"""Pools of nodes at a moment, as an operator that knows them sees them."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from devcluster.simulation.world import node_pool
from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.pools.nodes import GpuPod, KubeNode
from masktrain_operator.core.pools.oke import OkeNode, OkePool
from masktrain_operator.core.pools.types import ObservedPool, PoolContext
from masktrain_operator.core.times import format_time

CREATED = datetime(2026, 1, 5, 8, tzinfo=UTC)
MINUTE = 60.0
VM, BARE_METAL = "VM.GPU.A10.2", "BM.GPU.A10.4"
FOREIGN = GpuPod("others", "notebook", "uid-of-notebook", "node-1", 1)


def standing(
    age: float,
    idle: float | None,
    *,
    shape: str = VM,
    count: int = 1,
    pods: tuple[GpuPod, ...] | None = (),
    annotations: Mapping[str, str | None] | None = None,
    by_operator: bool = True,
    node: dict[str, Any] | None = None,
    entry: dict[str, Any] | None = None,
    metadata: dict[str, Any] | None = None,
    remembered: dict[str, Any] | None = None,
    **spec: Any,
) -> PoolContext:
    """A pool of nodes created `age` seconds ago and idle for `idle` seconds, as an operator that knows them sees it.

    `node`, `entry`, `metadata`, `remembered`: what differs of the Nodes, of the status' entries for them, of the
    GPUNodePool and of the rest of its status.
    """
    now = CREATED + timedelta(seconds=age)
    marks: dict[str, str | None] = {labels.IDLE_SINCE_ANNOTATION: format_time(now - timedelta(seconds=idle or 0))}
    marks.update(annotations or {})
    nodes = tuple(_kube_node(number, pods, marks, node or {}) for number in range(1, count + 1))
    oke = _oke_pool(
        shape, tuple(OkeNode(f"i-{number}", f"node-{number}", "ACTIVE", "AD-1") for number in range(1, count + 1))
    )
    pool = node_pool("gpu", **spec)
    entries = [_entry(number, by_operator) | (entry or {}) for number in range(1, count + 1)]
    status = {"nodes": entries, "addedNodes": count if by_operator else 0}
    dumped = pool.model_dump(mode="json", by_alias=True)
    dumped["metadata"] |= metadata or {}
    body = {**dumped, "status": status | (remembered or {})}
    return PoolContext(GPUNodePool.parse(body), ObservedPool(oke, nodes), now)


def _entry(number: int, by_operator: bool) -> dict[str, Any]:
    return {
        "instanceId": f"i-{number}",
        "name": f"node-{number}",
        "state": "Idle",
        "addedByOperator": by_operator,
        "createdTime": CREATED.isoformat(),
        "joinedTime": (CREATED + timedelta(minutes=4)).isoformat(),
    }


def _kube_node(number: int, pods: Any, marks: dict[str, str | None], fields: dict[str, Any]) -> KubeNode:
    annotations = {key: value for key, value in marks.items() if value is not None}
    known: dict[str, Any] = {
        "name": f"node-{number}",
        "uid": f"uid-{number}",
        "resource_version": "1",
        "instance_id": f"i-{number}",
        "ready": True,
        "ready_changed": CREATED,
        "initialising": False,
        "cordoned": False,
        "gpus": 2,
        "labels": {labels.NODE_POOL_LABEL: "gpu"},
        "annotations": {labels.ADDED_ANNOTATION: f"i-{number}", **annotations},
        "pods": pods,
    }
    return KubeNode(**known | fields)


def _oke_pool(shape: str, nodes: tuple[OkeNode, ...]) -> OkePool:
    return OkePool(
        id="ocid1.nodepool.gpu",
        name="gpu",
        cluster_id="cluster",
        compartment_id="compartment",
        lifecycle_state="ACTIVE",
        lifecycle_details="",
        size=len(nodes),
        etag="1",
        shape=shape,
        preemptible=False,
        nodes=nodes,
    )
