"""The last look at a node before it is terminated, at what the API server says at that moment."""

from collections.abc import Iterable

from masktrain_operator.core.types import Manifest

from .gpu_pods import gpu_pod
from .kube_node import instance_of, kube_node
from .types import Removal


def objection(removal: Removal, node: Manifest | None, pods: Iterable[Manifest]) -> str | None:
    """Why the node must stay after all; None if it may go. `pods`: everybody's that are bound to it."""
    if removal.node is None:
        return None if node is None else f"instance {removal.instance_id} has joined as {node['metadata']['name']}"
    if node is None:
        return None
    name = removal.node.name
    if node["metadata"]["uid"] != removal.node.uid or instance_of(node) != removal.instance_id:
        return f"{name} is another machine by now"
    if kube_node(node, ()).removal_begun is None or not node.get("spec", {}).get("unschedulable"):
        return f"{name} was made schedulable again"
    holders = [found for found in map(gpu_pod, pods) if found is not None]
    if holders:
        return f"pod {holders[0].namespace}/{holders[0].name} has come to {name} and asks for a GPU"
    return None
