"""The nodes that a pool has: whose they are, what each one does, what was asked of Oracle, and what ended ones cost.

Nothing is decided here: what was observed goes into the status, from which the planner and a restarted operator go on.
"""

from collections import defaultdict
from datetime import datetime

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolNodeStatus

from . import billing
from .deadlines import is_due, lost_time
from .failures.joining import join_failure
from .nodes import KubeNode
from .oke import OkeNode, OkePool
from .types import PoolContext

IDLE_STATES = (NodeState.IDLE, NodeState.DRAINING)


def take_inventory(context: PoolContext) -> GPUNodePoolStatus:
    """The status with all that was observed of the pool."""
    oke, status, rate = context.observed.oke, context.status, context.tariff.hourly_rate
    status = status.model_copy(
        update={
            "observed_generation": context.pool.metadata.generation,
            "shape": oke.shape,
            "preemptible": oke.preemptible,
            "gpus_per_node": context.gpus_per_node,
            "hourly_rate": None if rate is None else billing.amount(rate),
            "size": oke.size,
            "waiting_jobs": context.observed.waiting_jobs,
        }
    )
    status = billing.charge(status, context.observed.ended, context.now, context.tariff)
    # Ended ones first: what Oracle puts in the place of a preempted one is the operator's, too.
    status = _close_ended(context, status)
    status = _enter_new(context, status)
    status = billing.charge(status, {}, context.now, context.tariff)
    known = {entry.instance_id for entry in status.nodes if entry.joined_time is not None}
    entries = [_look_at(context, entry) for entry in status.nodes]
    if any(entry.joined_time is not None and entry.instance_id not in known for entry in entries):
        status = status.model_copy(update={"failed_boots": None})
    asked = oke.coming + (status.scale_up.adds if status.scale_up else 0)
    nodes = sorted(entries, key=lambda entry: entry.instance_id)
    status = status.model_copy(update={"nodes": nodes, "coming_for": status.coming_for[:asked]})
    return _count_money(context, _count_added(context, status))


def is_steady(context: PoolContext, status: GPUNodePoolStatus) -> bool:
    """Whether Oracle has done all it was asked: as many nodes as wanted, all of them known here, and no phantoms."""
    alive = context.observed.oke.alive_instances
    known = {entry.instance_id for entry in status.nodes}
    return status.scale_up is None and context.observed.oke.size == len(alive) and alive <= known


def _close_ended(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    cost, left = status.cost, []
    for entry in status.nodes:
        ended = context.observed.ended.get(entry.instance_id)
        if ended is None:
            left.append(entry)
            continue
        cost = billing.add_ended_node(cost, entry, ended, context.tariff)
    return status.model_copy(update={"nodes": left, "cost": cost})


def _enter_new(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Instances seen for the first time.

    They are the operator's while fewer of its nodes are there than it answers for, or if their Node says so from an
    earlier life of this GPUNodePool. All others were added by people and are left alone.
    """
    known = {entry.instance_id for entry in status.nodes}
    entries, added_nodes, coming_for = list(status.nodes), status.added_nodes, list(status.coming_for)
    # In a fixed order, because it decides which of several newcomers count as the operator's.
    for instance in sorted(context.observed.instances.values(), key=lambda found: (found.time_created, found.id)):
        if instance.id in known or instance.id in context.observed.ended:
            continue
        node = context.kube_nodes.get(instance.id)
        marked = node is not None and node.was_added_by_operator
        ours = sum(entry.added_by_operator for entry in entries)
        added_nodes = max(added_nodes, ours + 1) if marked else added_nodes
        is_ours = marked or ours < added_nodes
        came_for = coming_for.pop(0) if is_ours and coming_for else ""
        entries.append(
            PoolNodeStatus(
                instance_id=instance.id,
                state=NodeState.BOOTING,
                added_by_operator=is_ours,
                created_time=instance.time_created,
                namespaces=[came_for] if came_for else [],
            )
        )
    return status.model_copy(update={"nodes": entries, "added_nodes": added_nodes, "coming_for": coming_for})


def with_holders(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Each node charged to the namespaces of the gangs that it is kept for, and of the pods that have its GPUs."""
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for placement in context.observed.placements:
        for name in placement.node_names:
            holders[name].add(placement.gang.namespace)
    for node in context.observed.nodes:
        holders[node.instance_id].update(pod.namespace for pod in node.pods or ())
    entries = [
        billing.hold(entry, holders[entry.instance_id] | holders.get(entry.name or "", set()), context.now)
        for entry in status.nodes
    ]
    return billing.count_held(status.model_copy(update={"nodes": entries}), context.now)


def _look_at(context: PoolContext, entry: PoolNodeStatus) -> PoolNodeStatus:
    node, oke_node = context.kube_node_of(entry), context.oke_nodes.get(entry.instance_id)
    entry = _what_oracle_says(entry, node, oke_node, context.now)
    if node is not None:
        entry = _what_kubernetes_says(context, entry, node)
    state = _state(entry, node, context.now)
    # A time ahead, whoever wrote it, would keep the node until then.
    idle_since = min(node.idle_since or context.now, context.now) if node and state in IDLE_STATES else None
    entry = billing.enter_state(entry, state, context.now).model_copy(update={"idle_since": idle_since})
    return billing.with_cost(entry, context.now, context.tariff)


def _what_oracle_says(
    entry: PoolNodeStatus, node: KubeNode | None, oke_node: OkeNode | None, now: datetime
) -> PoolNodeStatus:
    """Of all that, nothing can be taken back but a gap in a list, which may be some seconds old."""
    is_listed = oke_node is not None and oke_node.lifecycle_state != "DELETED"
    going = oke_node is not None and oke_node.lifecycle_state == "DELETING"
    asked = going or (node is not None and node.is_doomed)
    failure = oke_node.failure if oke_node is not None else None
    return entry.model_copy(
        update={
            # A deletion that fails is tried again by Oracle's next change of the pool, whatever that changes.
            "doomed_time": entry.doomed_time or entry.removal_requested_time or (now if asked else None),
            "unlisted_time": None if is_listed else entry.unlisted_time or now,
            "failure": entry.failure or failure,
        }
    )


def _what_kubernetes_says(context: PoolContext, entry: PoolNodeStatus, node: KubeNode) -> PoolNodeStatus:
    """Once and for all: a device plugin that restarts takes the GPUs away for a moment, and that is no new boot."""
    if entry.joined_time is not None or not node.is_usable:
        return entry.model_copy(update={"name": node.name})
    failure = entry.failure or (join_failure(context, node) if entry.added_by_operator else None)
    complete = not entry.added_by_operator or node.gpus >= (context.gpus_per_node or 1)
    joined = context.now if complete and failure is None else None
    return entry.model_copy(update={"name": node.name, "joined_time": joined, "failure": failure})


def _state(entry: PoolNodeStatus, node: KubeNode | None, now: datetime) -> NodeState:
    if entry.doomed_time is not None:
        return NodeState.DELETING
    is_lost = node is not None and is_due(lost_time(node), now)
    if entry.unlisted_time is not None:
        # Lists may be old: pods work on, and nothing is to grow in their place.
        works = node is not None and entry.joined_time is not None and node.pods and not is_lost
        return NodeState.BUSY if works else NodeState.DELETING
    if entry.joined_time is None:
        return NodeState.BOOTING if entry.failure is None else NodeState.FAILED
    # Gone after it had joined, as after `kubectl delete node`: that ends no instance, which costs on.
    if node is None or is_lost:
        return NodeState.LOST
    return _state_at_work(entry, node)


def _state_at_work(entry: PoolNodeStatus, node: KubeNode) -> NodeState:
    if node.pods is None or node.pods:
        return NodeState.BUSY
    if entry.failure is not None:
        return NodeState.FAILED
    return NodeState.DRAINING if node.removal_begun is not None else NodeState.IDLE


def _count_added(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Once nothing is coming any more, the operator answers for those of its nodes that are there."""
    if not is_steady(context, status):
        return status
    return status.model_copy(update={"added_nodes": sum(entry.added_by_operator for entry in status.nodes)})


def _count_money(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    cost = billing.total(status.cost, status.nodes, context.now, context.tariff)
    return status.model_copy(update={"cost": cost})


def record_removal(status: GPUNodePoolStatus, instance_id: str, work_request_id: str | None) -> GPUNodePoolStatus:
    """The instance is being terminated, or may be; its time is that of the plan, which counted the removal already."""
    nodes = [_removed(e, status, work_request_id) if e.instance_id == instance_id else e for e in status.nodes]
    return status.model_copy(update={"nodes": nodes})


def end_of_removal(oke: OkePool, entry: PoolNodeStatus) -> datetime | None:
    """When a removal ended of which the status has no work request; None if Oracle lists none.

    A work request that was accepted before the instance existed is the one that created it.
    """
    ends = [
        request.finished
        for request in oke.work_requests
        # A removal that failed (pods that could not be evicted) ended nothing: the instance is still billed.
        if entry.instance_id in request.resources and request.accepted > entry.created_time and not request.has_failed
    ]
    return next(filter(None, ends), None)


def _removed(entry: PoolNodeStatus, status: GPUNodePoolStatus, work_request_id: str | None) -> PoolNodeStatus:
    requested = status.recent_removals[-1] if status.recent_removals else entry.created_time
    return entry.model_copy(
        update={
            "state": NodeState.DELETING,
            "removal_requested_time": requested,
            "removal_tries": entry.removal_tries + 1,
            "removal_refusal": None,
            "doomed_time": entry.doomed_time or requested,
            "work_request_id": work_request_id or entry.work_request_id,
        }
    )
