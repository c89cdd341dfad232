"""Shrinking a pool: an idle node is cordoned, looked at once more, and only then terminated, one instance at a time.

Busy nodes, nodes that people added or asked to keep, and nodes that waiting gangs will run on are never taken.
"""

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolNodeStatus
from masktrain_operator.core.times import format_time
from masktrain_operator.core.types import Manifest

from .deadlines import (
    BUDGET_WINDOW,
    cordon_effect,
    is_due,
    is_paused,
    refusal_ends,
    removal_repeat,
    removal_time,
)
from .failures.joining import is_overdue
from .nodes import GpuPod, KubeNode, instance_of, kube_node
from .types import NodePatch, PoolContext, PoolPlan, Removal

WORKING = (NodeState.BUSY, NodeState.IDLE, NodeState.DRAINING)


def scale_down(context: PoolContext, status: GPUNodePoolStatus) -> PoolPlan:
    """Marks on Nodes, and the removals whose time has come."""
    patches = tuple(_marks(context, status))
    status = _forget_old_removals(status, context.now)
    if not _may_shrink(context):
        # A node that stayed cordoned would cost, and be of use to nobody.
        return PoolPlan(patches=(*patches, *_uncordon_all(context, status)), status=status)
    plan = PoolPlan(patches=patches, status=status)
    budget, spare = _budget(context, status), _above_minimum(context, status)
    needed = needed_nodes(context)
    for entry in _by_urgency(context, status):
        node, works = context.kube_node_of(entry), entry.state in WORKING
        if not is_removable(context, entry, needed) or budget <= 0 or (works and spare <= 0):
            plan = plan.and_also(_keep(entry, node, plan.status))
            continue
        budget, spare = budget - 1, spare - works
        plan = plan.and_also(_remove(context, entry, node, plan.status))
    return plan


def needed_nodes(context: PoolContext) -> frozenset[str]:
    """Names of Nodes, or of instances not yet joined, that gangs run on or will."""
    return frozenset(name for placement in context.observed.placements for name in placement.node_names)


def is_removable(context: PoolContext, entry: PoolNodeStatus, needed: frozenset[str]) -> bool:
    """Whether it is time to take the node down, as far as is known without asking the API server again."""
    node = context.kube_node_of(entry)
    if not entry.added_by_operator or entry.state is NodeState.BUSY or (node is not None and node.pods != ()):
        return False
    if entry.removal_refusal is not None and not is_due(refusal_ends(entry), context.now):
        return False
    if entry.doomed_time is not None:
        return is_due(removal_repeat(context, entry), context.now)
    if node is not None and node.is_kept:
        return False
    if entry.unlisted_time is not None:
        return is_due(removal_repeat(context, entry), context.now)
    return _is_of_no_use(context, entry, needed)


def _is_of_no_use(context: PoolContext, entry: PoolNodeStatus, needed: frozenset[str]) -> bool:
    if entry.state in (NodeState.LOST, NodeState.FAILED):
        return True
    if entry.state is NodeState.BOOTING:
        return context.is_deleting or is_overdue(context, entry)
    node = context.kube_node_of(entry)
    return node is not None and node.name not in needed and removal_time(context, entry) <= context.now


def _may_shrink(context: PoolContext) -> bool:
    return not is_paused(context) and (context.pool.spec.scale_down.enabled or context.is_deleting)


def _budget(context: PoolContext, status: GPUNodePoolStatus) -> int:
    """Removals that may begin in this minute."""
    return context.pool.spec.scale_down.max_removals_per_minute - len(status.recent_removals)


def _above_minimum(context: PoolContext, status: GPUNodePoolStatus) -> int:
    """How many nodes that work may go: one that boots may never come, a broken one does nothing for the minimum."""
    working = sum(entry.state in WORKING for entry in status.nodes)
    return working - (0 if context.is_deleting else context.pool.spec.min_nodes)


def _by_urgency(context: PoolContext, status: GPUNodePoolStatus) -> list[PoolNodeStatus]:
    """Those that were cordoned already first, so that a removal is finished before another one begins.

    Before them come those that Oracle was asked for least often: one that it never takes must not use up what others
    may have of the minute.
    """

    def rank(entry: PoolNodeStatus) -> tuple[int, bool, datetime, str]:
        is_new = entry.state is not NodeState.DRAINING
        return (entry.removal_tries, is_new, removal_time(context, entry), entry.instance_id)

    return sorted(status.nodes, key=rank)


def _remove(
    context: PoolContext, entry: PoolNodeStatus, node: KubeNode | None, status: GPUNodePoolStatus | None
) -> PoolPlan:
    assert status is not None
    if node is not None and _must_be_closed(entry, node):
        return PoolPlan(status=status)
    # First look. The pod that a scheduler was about to bind shows at the second one, some seconds later.
    # A time ahead, whoever wrote it, would keep the node until then: it is marked anew.
    if node is not None and (node.removal_begun is None or node.removal_begun > context.now):
        annotations = {labels.REMOVAL_ANNOTATION: format_time(context.now)}
        return PoolPlan(patches=(_patch(node, annotations, cordon=True),), status=status)
    if node is not None and not is_due(cordon_effect(node), context.now):
        return PoolPlan(status=status)
    removals = [*status.recent_removals, context.now]
    drain = 0 if node is None else context.pool.spec.scale_down.drain_seconds
    return PoolPlan(
        removals=(Removal(entry.instance_id, node, drain, is_repeated=entry.doomed_time is not None),),
        status=status.model_copy(update={"recent_removals": removals}),
    )


def _keep(entry: PoolNodeStatus, node: KubeNode | None, status: GPUNodePoolStatus | None) -> PoolPlan:
    """A node that was cordoned to be removed and is not to be any more is given back."""
    if node is None or node.removal_begun is None or entry.state in (NodeState.DELETING, NodeState.FAILED):
        return PoolPlan(status=status)
    return PoolPlan(patches=(uncordon(node),), status=status)


def _uncordon_all(context: PoolContext, status: GPUNodePoolStatus) -> Iterator[NodePatch]:
    for entry in status.nodes:
        yield from _keep(entry, context.kube_node_of(entry), status).patches


def doom(removal: Removal, node: Manifest) -> NodePatch | None:
    """What the Node has to say before Oracle is asked: an operator that dies after it must not use the node again.

    None where it says so already. Bound to what the last look has shown: nobody has opened the node since.
    """
    name, uid = node["metadata"]["name"], node["metadata"]["uid"]
    if kube_node(node, ()).is_doomed:
        return None
    body = {"metadata": {"annotations": {labels.DOOMED_ANNOTATION: removal.instance_id}}}
    return NodePatch(name, uid, body, node["metadata"]["resourceVersion"])


def spare(node: Manifest) -> NodePatch:
    """Takes that back, of a Node that Oracle has refused to terminate; it stays cordoned until the next plan."""
    metadata = node["metadata"]
    return NodePatch(metadata["name"], metadata["uid"], {"metadata": {"annotations": {labels.DOOMED_ANNOTATION: None}}})


def uncordon(node: KubeNode) -> NodePatch:
    return _patch(node, {labels.REMOVAL_ANNOTATION: None}, cordon=False)


def _patch(node: KubeNode, annotations: dict[str, Any], *, cordon: bool) -> NodePatch:
    body = {"metadata": {"annotations": annotations}, "spec": {"unschedulable": True if cordon else None}}
    # On that version only: since it was read, a person may have cordoned it or asked to keep it.
    return NodePatch(node.name, node.uid, body, node.resource_version)


def _marks(context: PoolContext, status: GPUNodePoolStatus) -> Iterator[NodePatch]:
    """What Nodes are to say of themselves: their pool, whose they are, since when they are idle."""
    for entry in status.nodes:
        node = context.kube_node_of(entry)
        if node is None:
            continue
        annotations = _wanted_annotations(context, entry, node)
        if _must_be_closed(entry, node):
            yield _patch(node, {labels.REMOVAL_ANNOTATION: format_time(context.now)}, cordon=True)
        changed = {key: value for key, value in annotations.items() if node.annotations.get(key) != value}
        pool = context.pool.metadata.name
        new_labels = {} if node.labels.get(labels.NODE_POOL_LABEL) == pool else {labels.NODE_POOL_LABEL: pool}
        if changed or new_labels:
            # On any version: these marks stay true whatever else changes, and a busy Node changes often.
            yield NodePatch(node.name, node.uid, {"metadata": {"labels": new_labels, "annotations": changed}})


def _must_be_closed(entry: PoolNodeStatus, node: KubeNode) -> bool:
    """Whether new pods could come to a node that Oracle terminates. What people added they may open and close."""
    is_closed = node.cordoned and node.removal_begun is not None
    return entry.added_by_operator and entry.doomed_time is not None and not is_closed


def _wanted_annotations(context: PoolContext, entry: PoolNodeStatus, node: KubeNode) -> dict[str, str | None]:
    # On the Node and not in memory: the next operator, or the sweeper, counts from the same moment.
    since = None
    if entry.state in (NodeState.IDLE, NodeState.DRAINING):
        since = format_time(min(node.idle_since or context.now, context.now))
    added = {labels.ADDED_ANNOTATION: entry.instance_id} if entry.added_by_operator else {}
    return {**added, labels.IDLE_SINCE_ANNOTATION: since}


def _forget_old_removals(status: GPUNodePoolStatus, now: datetime) -> GPUNodePoolStatus:
    recent = [moment for moment in status.recent_removals if now - moment < BUDGET_WINDOW]
    return status.model_copy(update={"recent_removals": recent})


def objection(removal: Removal, node: Manifest | None, holder: GpuPod | None) -> str | None:
    """Why the node must stay after all; None if it may go. `holder`: a pod on it that holds GPUs, whosever it is."""
    # It goes as one that has not joined: if it has since then, pods may be on their way to it.
    if removal.node is None:
        return None if node is None else f"instance {removal.instance_id} has joined as {node['metadata']['name']}"
    if node is None:
        return None
    name = removal.node.name
    if node["metadata"]["uid"] != removal.node.uid or instance_of(node) != removal.instance_id:
        return f"{name} is another machine by now"
    if kube_node(node, ()).removal_begun is None or not node.get("spec", {}).get("unschedulable"):
        return f"{name} was made schedulable again"
    if holder is not None:
        return f"pod {holder.namespace}/{holder.name} has come to {name} and asks for a GPU"
    return None
