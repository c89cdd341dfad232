"""Growing a pool, and learning why Oracle could not give what was asked for.

What is asked for is written into the status first, so that a killed operator asks for nothing twice.
"""

from datetime import datetime

from masktrain_operator.api.pool_status import GPUNodePoolStatus, LastError, NodeState, PoolReason, ScaleUp

from .deadlines import is_backing_off, is_due, is_paused, request_is_lost
from .failures.backoff import back_off
from .oke import OkeError, OkeNode, OkePool, Shortage, shortage_of
from .types import PoolContext, PoolPlan, Resize

USELESS = (NodeState.DELETING, NodeState.FAILED)


def capacity_error(oke: OkePool) -> tuple[PoolReason, str, OkeError] | None:
    """Why nodes that were asked for will not come, with the availability domain; None if they may."""
    for node in oke.nodes:
        if node.is_phantom and node.error is not None:
            return _reason(node.error), _sentence(node, node.error), node.error
    request = oke.failed_request
    if oke.phantoms == 0:
        return None
    if request is None:
        error = OkeError("Unknown", f"Oracle lists {oke.phantoms} nodes as failed that have no instance.")
        return PoolReason.PROVISIONING_FAILED, error.message, error
    error = request.errors[0] if request.errors else OkeError("Unknown", f"Work request {request.id} failed.")
    return _reason(error), f"Oracle gave up: {_ended(error.message)}", error


def last_error(error: OkeError, now: datetime) -> LastError:
    return LastError(code=error.code, message=error.message, request_id=error.request_id, time=now)


def _reason(error: OkeError) -> PoolReason:
    match shortage_of(error.code, error.message):
        case Shortage.LIMIT:
            return PoolReason.LIMIT_EXCEEDED
        case Shortage.CAPACITY:
            return PoolReason.OUT_OF_HOST_CAPACITY
        case None:
            return PoolReason.PROVISIONING_FAILED


def _sentence(node: OkeNode, error: OkeError) -> str:
    return f"{node.availability_domain}: {_ended(error.message)}"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."


def scale_up(context: PoolContext, status: GPUNodePoolStatus) -> PoolPlan:
    """First the intention goes into the status; once it is read back from there, Oracle is asked."""
    status = _learn_from_failure(context, _without_done(context, status))
    if is_paused(context):
        return PoolPlan(status=status)
    # Before all growth: `size` contains them, so an absolute size on top of it would ask for them once more.
    if context.observed.oke.phantoms:
        resize = None if _changes_are_refused(context, status) else _without_phantoms(context.observed.oke)
        return PoolPlan(resize=resize, status=status)
    # Not before its phantoms are cleared away: once the pool is gone nobody would.
    if context.is_deleting:
        return PoolPlan(status=_without_unneeded(context, status))
    missing = 0 if is_backing_off(status, context.now) else missing_nodes(context, status)
    if missing == 0:
        return PoolPlan(status=_without_unneeded(context, status))
    return _ask(context, status, missing)


def growth_refused(
    status: GPUNodePoolStatus,
    pool_uid: str,
    message: str,
    now: datetime,
    reason: PoolReason = PoolReason.LIMIT_EXCEEDED,
) -> GPUNodePoolStatus:
    """Oracle did not take the request for more at all: nothing of it will come."""
    adds = status.scale_up.adds if status.scale_up else 0
    status = back_off(status, pool_uid, reason, message, now)
    return status.model_copy(update={"scale_up": None, "added_nodes": max(0, status.added_nodes - adds)})


def missing_nodes(context: PoolContext, status: GPUNodePoolStatus) -> int:
    """Nodes that admitted gangs or `minNodes` need beyond those that are there or coming: none that nothing runs on."""
    if context.is_refused:
        return 0
    oke, spec = context.observed.oke, context.pool.spec
    standing = len(oke.alive_instances) + oke.coming
    # Small gangs may share a node that is yet to grow, so slots are counted, not gangs.
    grown = len({slot for placement in context.observed.placements for slot in placement.slots if slot.grown})
    useless = sum(e.state in USELESS and e.instance_id in oke.alive_instances for e in status.nodes)
    wanted = max(grown, spec.min_nodes - (standing - useless), 0)
    return min(wanted, max(0, spec.max_nodes - standing))


def _ask(context: PoolContext, status: GPUNodePoolStatus, missing: int) -> PoolPlan:
    oke = context.observed.oke
    size = oke.size + missing
    if status.scale_up is not None and status.scale_up.size == size:
        return PoolPlan(resize=Resize(size, oke.etag), status=status)
    planned = status.scale_up.adds if status.scale_up else 0
    coming_for = [*_padded(status.coming_for, oke.coming), *_padded(_asking(context), missing)]
    intention = ScaleUp(size=size, adds=missing, requested_time=context.now)
    # An intention that was never carried out is replaced: its nodes must not be answered for twice.
    added_nodes = status.added_nodes - planned + missing
    return PoolPlan(
        status=status.model_copy(update={"scale_up": intention, "added_nodes": added_nodes, "coming_for": coming_for}),
        requeue_after=0,
    )


def _asking(context: PoolContext) -> list[str]:
    """Namespaces of the gangs that nodes are asked for, a node each; one that is shared counts for the first."""
    wanted: dict[int, str] = {}
    for placement in context.observed.placements:
        for slot in placement.slots:
            if slot.grown:
                wanted.setdefault(int(slot.name), placement.gang.namespace)
    return [wanted[number] for number in sorted(wanted)]


def _padded(names: list[str], count: int) -> list[str]:
    """Nobody in particular asked for the rest."""
    return [*names[:count], *[""] * (count - len(names))]


def _without_phantoms(oke: OkePool) -> Resize | None:
    """Lower the size to what is there, so that Oracle has nobody to choose as a victim.

    Not while a node is being created: it might be counted wrongly.
    """
    if any(node.lifecycle_state == "CREATING" and node.instance_id for node in oke.nodes):
        return None
    size = max(oke.size - oke.phantoms, oke.least_size)
    return Resize(size, oke.etag) if size < oke.size else None


def _changes_are_refused(context: PoolContext, status: GPUNodePoolStatus) -> bool:
    """Whether the last size was refused for good: another one will be, too, for a while."""
    refused = status.backoff is not None and status.backoff.reason == PoolReason.GROWTH_REFUSED
    return refused and is_backing_off(status, context.now)


def _without_done(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    if status.scale_up is None or context.observed.oke.size < status.scale_up.size:
        return status
    return status.model_copy(update={"scale_up": None})


def _without_unneeded(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Nobody needs it any more; not dropped before a request whose answer was lost can no longer be carried out."""
    if status.scale_up is None or not is_due(request_is_lost(status), context.now):
        return status
    added_nodes = max(0, status.added_nodes - status.scale_up.adds)
    return status.model_copy(update={"scale_up": None, "added_nodes": added_nodes})


def _learn_from_failure(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    found = capacity_error(context.observed.oke)
    if found is None:
        return _forget_failures(context, status)
    reason, message, error = found
    known = status.last_error is not None and status.last_error.request_id == error.request_id
    # Oracle lists the same failure at every look: it keeps the time at which it was first seen.
    known = known and status.last_error is not None and status.last_error.message == error.message
    status = back_off(status, context.pool.metadata.uid, reason, message, context.now)
    return status if known else status.model_copy(update={"last_error": last_error(error, context.now)})


def _forget_failures(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Once all that was wanted after a failure is there, or is wanted no more."""
    over = status.backoff is not None and not is_backing_off(status, context.now)
    if over and status.scale_up is None and context.observed.oke.coming == 0 and missing_nodes(context, status) == 0:
        # An instance that boots proves nothing yet: it may still be given up, which is one more failure in a row.
        booting = any(entry.joined_time is None for entry in status.nodes)
        return status if booting else status.model_copy(update={"backoff": None})
    return status
