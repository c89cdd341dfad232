"""What admission sees of the pools: a slot for each node, what each pool may grow by, and why it does not grow now."""

from collections.abc import Collection, Iterator
from decimal import Decimal

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool

from .nodes import KubeNode
from .packing import NodeSlot, PoolSlots
from .scale_up import is_backing_off
from .types import PoolContext

SHAPE_LABEL = "node.kubernetes.io/instance-type"
MOST_GPUS = 16


def slots_of(situation: PoolContext, stock: GPUNodePoolStatus, gang_uids: Collection[str]) -> PoolSlots:
    """`gang_uids`: jobs whose pods admission accounts for itself; all other pods only take room away."""
    oke, spec = situation.observed.oke, situation.pool.spec
    obstacle = _obstacle(situation, stock)
    standing = len(oke.alive_instances) + oke.coming
    return PoolSlots(
        name=situation.pool.metadata.name,
        gpus_per_node=situation.gpus_per_node or 0,
        rooms=tuple(_slots(situation, stock, gang_uids)),
        growable=0 if obstacle else max(0, spec.max_nodes - standing),
        limit=0 if situation.is_deleting else max(spec.max_nodes, standing),
        hourly_rate=situation.tariff.hourly_rate,
        node_labels={SHAPE_LABEL: oke.shape},
        obstacle=obstacle,
    )


def _slots(situation: PoolContext, stock: GPUNodePoolStatus, gang_uids: Collection[str]) -> Iterator[NodeSlot]:
    """Those that are paid for longest come first, so that what is removed is what costs."""
    present = []
    for entry in sorted(stock.nodes, key=lambda entry: entry.created_time, reverse=True):
        node = situation.kube_node_of(entry)
        if entry.state in (NodeState.BUSY, NodeState.IDLE, NodeState.DRAINING) and node is not None:
            present.append(_on_node(situation, entry, node, gang_uids))
    yield from sorted(present, key=lambda room: room.free_gpus)
    gpus = situation.gpus_per_node or 0
    for entry in stock.nodes:
        if entry.state is NodeState.BOOTING and not _is_overdue(situation, entry):
            yield NodeSlot(entry.instance_id, gpus, present=False)
    for number in range(situation.observed.oke.coming):
        yield NodeSlot(f"coming-{number}", gpus, present=False)


def _on_node(situation: PoolContext, entry: PoolNodeStatus, node: KubeNode, gang_uids: Collection[str]) -> NodeSlot:
    """A node that is not ready for a moment, was just cordoned by the operator, or whose pods nobody has looked at yet
    is on its way, like one that boots: what it will have room for needs no other node. One that a person cordoned is
    closed.
    """
    foreign = sum(pod.gpus for pod in node.pods or () if pod.job_uid not in gang_uids)
    gpus = node.gpus or situation.gpus_per_node or 0
    cordoned_by_person = node.cordoned and node.removal_begun is None
    on_its_way = node.pods is None or not node.is_usable or entry.state is NodeState.DRAINING
    is_open = not cordoned_by_person and not situation.is_deleting
    return NodeSlot(node.name, max(0, gpus - foreign), open=is_open, present=not on_its_way)


def _is_overdue(situation: PoolContext, entry: PoolNodeStatus) -> bool:
    waited = (situation.now - entry.created_time).total_seconds()
    return waited > situation.pool.spec.provisioning_timeout_seconds


def _obstacle(situation: PoolContext, stock: GPUNodePoolStatus) -> str | None:
    if situation.is_deleting:
        return "it is being deleted"
    if situation.is_paused:
        return "it is paused"
    if situation.gpus_per_node is None:
        return f"shape {situation.observed.oke.shape} is unknown, set gpusPerNode"
    if stock.backoff is not None and is_backing_off(stock, situation.now):
        return f"{stock.backoff.message} Next try at {stock.backoff.until:%H:%M:%SZ}"
    return None


def unobserved_slots(pool: GPUNodePool, obstacle: str) -> PoolSlots:
    """A pool of which nothing is known but its own resource: whoever suits it has to wait for an answer."""
    status = pool.status
    return PoolSlots(
        name=pool.metadata.name,
        gpus_per_node=pool.spec.gpus_per_node or status.gpus_per_node or MOST_GPUS,
        limit=pool.spec.max_nodes,
        hourly_rate=Decimal(status.hourly_rate) if status.hourly_rate else None,
        node_labels={SHAPE_LABEL: status.shape} if status.shape else {},
        obstacle=obstacle,
    )
