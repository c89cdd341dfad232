"""Every rule of a pool that a clock decides, each stated once: the moment, and what counts from then on.

A rule is a function that answers the moment, or None where it does not apply; `is_due` compares. The planner acts on
what is due and looks again at the earliest of the rest; admission's answers are kept until then.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from enum import Enum, auto

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.times import read_time

from .billing import paid_until, spent_at
from .nodes import KubeNode
from .oke import OkeNode
from .types import PoolContext

CORDON_TAKES_EFFECT = timedelta(seconds=5)
"""So long a scheduler that has not seen the cordon may still bind a pod there."""
BEFORE_MINIMUM_ENDS = timedelta(seconds=180)
"""A node that is paid for anyway is given back this long before its minimum is over: a removal takes its time, too."""
BUDGET_WINDOW = timedelta(minutes=1)
"""What `maxRemovalsPerMinute` counts in."""
LOST_AFTER = timedelta(seconds=120)
"""A node that Kubernetes has not heard from for so long does no work any more."""
LOST_REQUEST = timedelta(seconds=90)
"""A request that no answer came to may still be carried out for so long: the client's retries end after 60 s."""
REMOVAL_ANSWER = timedelta(seconds=60)
"""A node that still stands so long after it should have been drained has to be asked for again."""
STUCK_REMOVAL = timedelta(minutes=15)
"""A removal that has not ended by then is told to people. Being unsure of a node is no way out for longer either."""
AFTER_DRAIN = timedelta(minutes=5)
"""Longer than an instance takes to terminate once it is drained."""
LONG_REFUSAL = timedelta(minutes=10)
"""Another change that is under way is over by then; whatever still refuses ours will not pass by itself."""
ALL_GPUS = timedelta(minutes=5)
"""A device plugin offers all GPUs at once; one that is missing for so long does not work."""
RELEASE_LIMIT = timedelta(minutes=15)
"""A deleted GPUNodePool is let go then, whatever Oracle says: `kubectl delete` must not hang for ever."""


class Verdict(Enum):
    """What counts from a moment on."""

    MAY_ASK_AGAIN = auto()
    MAINTENANCE_IS_OVER = auto()
    MAY_REMOVE_MORE = auto()
    REQUEST_IS_LOST = auto()
    POOL_IS_RELEASED = auto()
    NODE_IS_OVERDUE = auto()
    NODE_IS_LOST = auto()
    NODE_MAY_GO = auto()
    CORDON_HAS_TAKEN_EFFECT = auto()
    NODE_LACKS_GPUS = auto()
    REMOVAL_IS_REPEATED = auto()
    REMOVAL_IS_STUCK = auto()
    INSTANCE_IS_UNLISTED = auto()
    CHANGES_ARE_REFUSED = auto()
    MONTHLY_COST_IS_SPENT = auto()


def is_due(moment: datetime | None, now: datetime) -> bool:
    """What never comes is never due."""
    return moment is not None and moment <= now


def next_change(context: PoolContext, status: GPUNodePoolStatus) -> datetime | None:
    """When the planner, or admission, may change its mind although nothing happens."""
    ahead = (moment for moment, _ in upcoming(context, status) if moment > context.now)
    return min(ahead, default=None)


def upcoming(context: PoolContext, status: GPUNodePoolStatus) -> Iterator[tuple[datetime, Verdict]]:
    """All moments that the rules name, with what they decide; some of them are over."""
    found = [
        (backoff_end(status), Verdict.MAY_ASK_AGAIN),
        (maintenance_end(context.pool), Verdict.MAINTENANCE_IS_OVER),
        (next_removal(context, status), Verdict.MAY_REMOVE_MORE),
        (request_is_lost(status), Verdict.REQUEST_IS_LOST),
        (release_time(context.pool), Verdict.POOL_IS_RELEASED),
        (refusal_is_long(status), Verdict.CHANGES_ARE_REFUSED),
    ]
    found += ((moment, Verdict.MONTHLY_COST_IS_SPENT) for moment in monthly_costs(context, status))
    for entry in status.nodes:
        found += _of_node(context, entry, context.kube_node_of(entry))
    yield from ((moment, verdict) for moment, verdict in found if moment is not None)


def backoff_end(status: GPUNodePoolStatus) -> datetime | None:
    """From then on Oracle may be asked for nodes again."""
    return None if status.backoff is None else status.backoff.until


def maintenance_end(pool: GPUNodePool) -> datetime | None:
    """The annotation may name an end, instead of "true"."""
    return read_time(pool.metadata.annotations.get(labels.MAINTENANCE_ANNOTATION))


def next_removal(context: PoolContext, status: GPUNodePoolStatus) -> datetime | None:
    """When the budget of removals has room again; None while it has."""
    begun, most = status.recent_removals, context.pool.spec.scale_down.max_removals_per_minute
    # The removal whose leaving the window makes room: of more than `most` (the spec was lowered) not the oldest.
    return None if len(begun) < most else sorted(begun)[-most] + BUDGET_WINDOW


def request_is_lost(status: GPUNodePoolStatus) -> datetime | None:
    """A growth that nobody needs any more is forgotten from then on."""
    return None if status.scale_up is None else status.scale_up.requested_time + LOST_REQUEST


def release_time(pool: GPUNodePool) -> datetime | None:
    """When a deleted GPUNodePool is let go with whatever it still has."""
    deleted = pool.metadata.deletion_timestamp
    return None if deleted is None else deleted + RELEASE_LIMIT


def provisioning_timeout(context: PoolContext, entry: PoolNodeStatus) -> datetime | None:
    """From then on a node that has not joined does not count as coming any more, and is taken down."""
    if entry.joined_time is not None:
        return None
    patience = entry.created_time + timedelta(seconds=context.pool.spec.provisioning_timeout_seconds)
    # Bare metal may need longer, and is paid for: to give it up earlier would buy another hour for the next try.
    return max(patience, _end_of_minimum(context, entry))


def _end_of_minimum(context: PoolContext, entry: PoolNodeStatus) -> datetime:
    """Shortly before it; minimums so short that no node is ever young get no head start beyond their half."""
    head_start = min(BEFORE_MINIMUM_ENDS, timedelta(seconds=context.tariff.minimum_seconds / 2))
    return paid_until(entry, context.tariff) - head_start


def gpus_are_missing(node: KubeNode, expected: int | None) -> datetime | None:
    """From then on a node that offers some of its GPUs will not offer the rest."""
    lacks = expected is not None and 0 < node.gpus < expected and node.is_usable
    return node.ready_changed + ALL_GPUS if lacks else None


def lost_time(node: KubeNode) -> datetime | None:
    """From then on a node that is not ready counts as lost."""
    return None if node.ready else node.ready_changed + LOST_AFTER


def removal_repeat(context: PoolContext, entry: PoolNodeStatus) -> datetime | None:
    """When to ask again for a node that Oracle terminates, or that it has lost from its list; None for all others."""
    asked, oke_node = entry.removal_requested_time, context.oke_nodes.get(entry.instance_id)
    if asked is None:
        return _first_request(entry, oke_node)
    request = context.observed.oke.work_request(entry.work_request_id)
    if request is not None and request.has_failed and oke_node is not None and oke_node.is_alive:
        return asked + growing(REMOVAL_ANSWER, entry.removal_tries)
    if oke_node is None or not oke_node.is_alive or (request is not None and request.is_running):
        return asked + _time_to_go(context.pool)
    drain = timedelta(seconds=context.pool.spec.scale_down.drain_seconds)
    # Oracle may show it as active until it is drained.
    return asked + drain + growing(REMOVAL_ANSWER, entry.removal_tries, drain)


def _first_request(entry: PoolNodeStatus, oke_node: OkeNode | None) -> datetime | None:
    """Of one that somebody else asked for, or an operator that did not live to write it down."""
    if oke_node is not None and oke_node.is_alive:
        return entry.doomed_time
    since = entry.doomed_time or entry.unlisted_time
    return None if since is None else since + STUCK_REMOVAL


def growing(first: timedelta, tries: int, spent: timedelta = timedelta(0)) -> timedelta:
    """A wait that doubles with each try; with what is `spent` besides no more than people wait to be told."""
    # The exponent is bounded, because a node may be stuck for longer than a float has room.
    return max(first, min(first * 2.0 ** min(max(tries - 1, 0), 16), STUCK_REMOVAL - spent))


def refusal_ends(entry: PoolNodeStatus) -> datetime | None:
    """From then on Oracle may be asked again for a removal that it did not accept."""
    refusal = entry.removal_refusal
    return None if refusal is None else refusal.time + growing(REMOVAL_ANSWER, entry.removal_tries)


def removal_is_stuck(pool: GPUNodePool, entry: PoolNodeStatus) -> datetime | None:
    return None if entry.doomed_time is None else entry.doomed_time + _time_to_go(pool)


def _time_to_go(pool: GPUNodePool) -> timedelta:
    """A pool may let its nodes drain for an hour."""
    return max(STUCK_REMOVAL, timedelta(seconds=pool.spec.scale_down.drain_seconds) + AFTER_DRAIN)


def unlisted_for_long(entry: PoolNodeStatus) -> datetime | None:
    return None if entry.unlisted_time is None else entry.unlisted_time + STUCK_REMOVAL


def refusal_is_long(status: GPUNodePoolStatus) -> datetime | None:
    """From then on it is told that Oracle takes no change of the pool, and nodes are looked for elsewhere."""
    return None if status.refused_changes is None else status.refused_changes.since + LONG_REFUSAL


def cordon_effect(node: KubeNode) -> datetime | None:
    """From then on no scheduler binds a pod to a node that the operator cordoned."""
    return None if node.removal_begun is None else node.removal_begun + CORDON_TAKES_EFFECT


def removal_time(context: PoolContext, entry: PoolNodeStatus) -> datetime:
    """When an idle node goes: after the idle time, and not while its minimum is paid for and may still be of use."""
    idle_since = entry.idle_since or context.now
    # Nobody can be admitted to it any more, so neither idle time nor a paid minimum is of use to anyone.
    if context.is_deleting:
        return idle_since
    idle_enough = idle_since + timedelta(seconds=context.pool.spec.idle_seconds)
    if entry.namespaces and context.overspent.issuperset(entry.namespaces):
        # Nobody who may have it would pay for the wait.
        idle_enough = idle_since
    return max(idle_enough, _end_of_minimum(context, entry))


def monthly_costs(context: PoolContext, status: GPUNodePoolStatus) -> list[datetime]:
    """When namespaces will have spent what they may in this month, or may spend again because the next one begins."""
    limit = context.pool.spec.namespace_limits.monthly_cost
    if limit is None:
        return []
    return [spent_at(status, usage.name, Decimal(limit), context.now, context.tariff) for usage in status.namespaces]


def in_maintenance(context: PoolContext) -> bool:
    """Whether an annotation asks to leave the pool alone now."""
    end = maintenance_end(context.pool)
    wish = context.pool.metadata.annotations.get(labels.MAINTENANCE_ANNOTATION)
    return wish == "true" or (end is not None and not is_due(end, context.now))


def is_paused(context: PoolContext) -> bool:
    """Whether the pool neither grows nor shrinks."""
    return context.pool.spec.paused or in_maintenance(context)


def is_backing_off(status: GPUNodePoolStatus, now: datetime) -> bool:
    return status.backoff is not None and not is_due(backoff_end(status), now)


def _of_node(
    context: PoolContext, entry: PoolNodeStatus, node: KubeNode | None
) -> list[tuple[datetime | None, Verdict]]:
    found: list[tuple[datetime | None, Verdict]] = [
        (provisioning_timeout(context, entry), Verdict.NODE_IS_OVERDUE),
        (removal_repeat(context, entry), Verdict.REMOVAL_IS_REPEATED),
        (refusal_ends(entry), Verdict.REMOVAL_IS_REPEATED),
        (removal_is_stuck(context.pool, entry), Verdict.REMOVAL_IS_STUCK),
        (unlisted_for_long(entry), Verdict.INSTANCE_IS_UNLISTED),
    ]
    if entry.state in (NodeState.IDLE, NodeState.DRAINING):
        found.append((removal_time(context, entry), Verdict.NODE_MAY_GO))
    if node is not None:
        found += [(lost_time(node), Verdict.NODE_IS_LOST), (cordon_effect(node), Verdict.CORDON_HAS_TAKEN_EFFECT)]
        if entry.joined_time is None:
            found.append((gpus_are_missing(node, context.gpus_per_node), Verdict.NODE_LACKS_GPUS))
    return found
