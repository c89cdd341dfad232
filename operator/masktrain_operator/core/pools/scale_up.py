"""Growing: what is asked for is written into the status first, so that a killed operator asks for nothing twice."""

from datetime import datetime, timedelta

from masktrain_operator.api.pool_status import GPUNodePoolStatus, PoolReason, ScaleUp

from .backoff import back_off, capacity_error, is_backing_off, last_error
from .oke import OkePool
from .types import PoolPlan, PoolSituation, Resize

LOST_REQUEST = timedelta(seconds=90)
"""A request that no answer came to may still be carried out for so long."""


def scale_up(situation: PoolSituation, status: GPUNodePoolStatus) -> PoolPlan:
    """First the intention goes into the status; once it is read back from there, Oracle is asked."""
    status = _learn_from_failure(situation, _without_done(situation, status))
    if situation.is_paused:
        return PoolPlan(status=status)
    if situation.observed.oke.phantoms:
        return PoolPlan(resize=_without_phantoms(situation.observed.oke), status=status)
    if situation.is_deleting:
        return PoolPlan(status=_without_vain(situation, status))
    missing = 0 if is_backing_off(status, situation.now) else missing_nodes(situation)
    if missing == 0:
        return PoolPlan(status=_without_vain(situation, status))
    return _ask(situation, status, missing)


def growth_refused(status: GPUNodePoolStatus, pool_uid: str, message: str, now: datetime) -> GPUNodePoolStatus:
    """Oracle did not take the request for more at all: nothing of it will come."""
    adds = status.scale_up.adds if status.scale_up else 0
    status = back_off(status, pool_uid, PoolReason.LIMIT_EXCEEDED, message, now)
    return status.model_copy(update={"scale_up": None, "added_nodes": max(0, status.added_nodes - adds)})


def missing_nodes(situation: PoolSituation) -> int:
    """Nodes that admitted gangs or `minNodes` need beyond those that are there or coming."""
    oke, spec = situation.observed.oke, situation.pool.spec
    standing = len(oke.alive_instances) + oke.coming
    rooms = {room for placement in situation.observed.placements for room in placement.rooms}
    grown = sum(room.startswith("+") for room in rooms)
    wanted = max(grown, spec.min_nodes - standing, 0)
    return min(wanted, max(0, spec.max_nodes - standing))


def _ask(situation: PoolSituation, status: GPUNodePoolStatus, missing: int) -> PoolPlan:
    oke = situation.observed.oke
    size = oke.size + missing
    if status.scale_up is not None and status.scale_up.size == size:
        return PoolPlan(resize=Resize(size, oke.etag), status=status)
    planned = status.scale_up.adds if status.scale_up else 0
    intention = ScaleUp(size=size, adds=missing, requested_time=situation.now)
    added_nodes = status.added_nodes - planned + missing
    return PoolPlan(
        status=status.model_copy(update={"scale_up": intention, "added_nodes": added_nodes}), requeue_after=0
    )


def _without_phantoms(oke: OkePool) -> Resize | None:
    """Lower the size to what is there, so that Oracle has nobody to choose as a victim.

    Not while a node is being created: it might be counted wrongly.
    """
    if any(node.lifecycle_state == "CREATING" and node.instance_id for node in oke.nodes):
        return None
    return Resize(oke.size - oke.phantoms, oke.etag)


def _without_done(situation: PoolSituation, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    if status.scale_up is None or situation.observed.oke.size < status.scale_up.size:
        return status
    return status.model_copy(update={"scale_up": None})


def _without_vain(situation: PoolSituation, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Nobody needs it any more; not dropped before a request whose answer was lost can no longer be carried out."""
    if status.scale_up is None or situation.now - status.scale_up.requested_time < LOST_REQUEST:
        return status
    added_nodes = max(0, status.added_nodes - status.scale_up.adds)
    return status.model_copy(update={"scale_up": None, "added_nodes": added_nodes})


def _learn_from_failure(situation: PoolSituation, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    found = capacity_error(situation.observed.oke)
    if found is None:
        return _forget_failures(situation, status)
    reason, message, error = found
    known = status.last_error is not None and status.last_error.request_id == error.request_id
    known = known and status.last_error is not None and status.last_error.message == error.message
    status = back_off(status, situation.pool.metadata.uid, reason, message, situation.now)
    return status if known else status.model_copy(update={"last_error": last_error(error, situation.now)})


def _forget_failures(situation: PoolSituation, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    """Once all that was wanted after a failure is there, or is wanted no more."""
    over = status.backoff is not None and not is_backing_off(status, situation.now)
    if over and status.scale_up is None and situation.observed.oke.coming == 0 and missing_nodes(situation) == 0:
        booting = any(entry.joined_time is None for entry in status.nodes)
        return status if booting else status.model_copy(update={"backoff": None})
    return status
