"""Nodes on their way to work: what each needs at its join, and what it means for the pool if they do not come to it."""

import re
from datetime import timedelta
from decimal import Decimal

from masktrain_operator.api.pool_status import FailedBoots, GPUNodePoolStatus, PoolNodeStatus, PoolReason
from masktrain_operator.core import shapes
from masktrain_operator.core.pools import billing
from masktrain_operator.core.pools.deadlines import gpus_are_missing, is_backing_off, is_due, provisioning_timeout
from masktrain_operator.core.pools.nodes import KubeNode
from masktrain_operator.core.pools.types import PoolContext

from .backoff import back_off, wait_longer

DRIVER_LABELS = (
    "nvidia.com/cuda.driver-version.full",
    "nvidia.com/cuda.driver.major",
    "nvidia.com/cuda.driver.minor",
    "nvidia.com/cuda.driver.rev",
)
"""Of NVIDIA's GPU feature discovery: its newer form in one, and the older one in three."""
LEAST_STORAGE = Decimal(20 * 2**30)
"""The trainer image and a small data set. Without growing the file system OKE's nodes have some 36 GiB for pods."""
TRIES = 3
"""In a row that are worth the money: what ails as many nodes one after the other does not pass by itself."""
PAUSE = timedelta(hours=2)


def join_failure(context: PoolContext, node: KubeNode) -> str | None:
    """Why a node of the operator's that offers GPUs would be of no use to a job; None if it would, or may yet be."""
    expected = context.gpus_per_node
    if expected is not None and node.gpus < expected:
        if is_due(gpus_are_missing(node, expected), context.now):
            return f"it offers {node.gpus} of {expected} GPUs: see its device plugin, and gpusPerNode"
        return None
    return _driver_failure(context, node) or _storage_failure(context, node)


def is_overdue(context: PoolContext, entry: PoolNodeStatus) -> bool:
    """Whether a node has not joined within the provisioning timeout."""
    return is_due(provisioning_timeout(context, entry), context.now)


def learn_from_boots(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """A pool whose nodes do not come up is not asked for more at once, and after some tries for hours."""
    for entry in status.nodes:
        is_known = entry.joined_time is not None or entry.given_up_time is not None or entry.doomed_time is not None
        if is_known or not entry.added_by_operator:
            continue
        if entry.failure is not None:
            why, reason = f"cannot be used, {entry.failure}", PoolReason.NODES_UNUSABLE
        elif is_overdue(context, entry):
            why, reason = _what_is_missing(context, entry), PoolReason.PROVISIONING_TIMEOUT
        else:
            continue
        status = _given_up(context, status, entry, reason, f"Instance {entry.instance_id} {why}.")
    return status


def _given_up(
    context: PoolContext, status: GPUNodePoolStatus, entry: PoolNodeStatus, reason: PoolReason, message: str
) -> GPUNodePoolStatus:
    """Nodes of one try fail together: only the first of them counts as a try, the money of all does."""
    known = status.failed_boots or FailedBoots(count=1)
    again = status.failed_boots is not None and not is_backing_off(status, context.now)
    cost = Decimal(known.amount) + Decimal(entry.cost or 0)
    boots = FailedBoots(count=known.count + again, amount=billing.amount(cost))
    money = f" and have cost {billing.for_people(cost)}" if entry.cost else ""
    if boots.count > 1 or cost > Decimal(entry.cost or 0):
        message = f"{message} {boots.count} tries in a row brought no node that works{money}."
    elif entry.cost:
        message = f"{message} It has cost {billing.for_people(entry.cost)}."
    nodes = [
        other.model_copy(update={"given_up_time": context.now}) if other is entry else other for other in status.nodes
    ]
    status = back_off(status, context.pool.metadata.uid, reason, message, context.now)
    if boots.count >= TRIES:
        status = wait_longer(status, context.now + PAUSE, message)
    return status.model_copy(update={"nodes": nodes, "failed_boots": boots})


def _what_is_missing(context: PoolContext, entry: PoolNodeStatus) -> str:
    node = context.kube_node_of(entry)
    if node is not None and node.ready and node.gpus == 0:
        return "has joined, and offered no GPU before the provisioning timeout: see the device plugin and the driver"
    return "had not joined with its GPUs after the provisioning timeout"


def _driver_failure(context: PoolContext, node: KubeNode) -> str | None:
    shape, found = shapes.find_shape(context.observed.oke.shape), _driver(node)
    needed = shape.chip.driver if shape is not None else None
    if needed is None or found is None or _numbers(found) >= _numbers(needed):
        return None
    return f"its NVIDIA driver {found} is older than {needed}, which the trainer image needs: take another node image"


def _driver(node: KubeNode) -> str | None:
    full, *parts = (node.labels.get(label, "") for label in DRIVER_LABELS)
    said = full or ".".join(part for part in parts if part)
    return said if re.fullmatch(r"\d+(\.\d+)*", said) else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:3])


def _storage_failure(context: PoolContext, node: KubeNode) -> str | None:
    wanted = max((placement.gang.storage for placement in context.observed.placements), default=Decimal(0))
    needed = max(LEAST_STORAGE, wanted)
    if node.storage is None or node.storage >= needed:
        return None
    return (
        f"pods have {_gib(node.storage)} of ephemeral storage there and need {_gib(needed)}: give the node pool a "
        "larger boot volume, and grow its file system (oci-growfs in cloud-init)"
    )


def _gib(size: Decimal) -> str:
    return f"{size / 2**30:.0f} GiB"
