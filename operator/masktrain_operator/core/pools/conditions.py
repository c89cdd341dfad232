"""The conditions of a pool, from its inventory and what Oracle says."""

from datetime import datetime

from masktrain_operator.api.pool_status import GPUNodePoolStatus, PoolConditionType, PoolReason
from masktrain_operator.core.status.conditions import set_condition

from .oke import OkeError
from .scale_up import last_error
from .types import PoolContext

NEEDS_ATTENTION = "NEEDS_ATTENTION"
Finding = tuple[bool, PoolReason, str]


def with_conditions(situation: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    findings = {
        PoolConditionType.REACHABLE: (True, PoolReason.ANSWERED, "Oracle's API answers."),
        PoolConditionType.CAPACITY_AVAILABLE: _capacity(status),
        PoolConditionType.PAUSED: _paused(situation),
        PoolConditionType.RECONCILING: _reconciling(situation, status),
        PoolConditionType.STALLED: _stalled(situation),
    }
    for kind, (holds, reason, message) in findings.items():
        status = set_condition(status, kind, holds, reason=reason, message=message, now=situation.now)
    return status


def with_refusal(status: GPUNodePoolStatus, error: OkeError, reason: str, now: datetime) -> GPUNodePoolStatus:
    """The status of a pool of which Oracle's API refuses to show or do something; `reason` is one CamelCase word."""
    kind = PoolConditionType.REACHABLE
    status = status.model_copy(update={"last_error": last_error(error, now)})
    return set_condition(status, kind, False, reason=reason, message=error.message, now=now)


def _capacity(status: GPUNodePoolStatus) -> Finding:
    if status.backoff is None:
        return True, PoolReason.CAPACITY_FOUND, "Nothing that was asked for was refused."
    return False, PoolReason(status.backoff.reason), status.backoff.message


def _paused(situation: PoolContext) -> Finding:
    if situation.pool.spec.paused:
        return True, PoolReason.PAUSED, "spec.paused is set: the pool neither grows nor shrinks."
    if situation.in_maintenance:
        return True, PoolReason.MAINTENANCE, "The maintenance annotation is set: the pool neither grows nor shrinks."
    return False, PoolReason.NOT_PAUSED, "The pool grows and shrinks."


def _reconciling(situation: PoolContext, status: GPUNodePoolStatus) -> Finding:
    oke = situation.observed.oke
    if status.scale_up is not None or oke.coming:
        return True, PoolReason.GROWING, f"Growing to {max(oke.size, status.scale_up.size if status.scale_up else 0)}."
    leaving = sum(entry.removal_requested_time is not None for entry in status.nodes)
    if leaving:
        return True, PoolReason.SHRINKING, f"{leaving} nodes are being terminated."
    return False, PoolReason.SETTLED, f"{oke.size} nodes."


def _stalled(situation: PoolContext) -> Finding:
    oke = situation.observed.oke
    if situation.gpus_per_node is None:
        message = f"Shape {oke.shape} is not in the price table: set gpusPerNode, and hourlyPrice for costs."
        return True, PoolReason.UNKNOWN_SHAPE, message
    if oke.lifecycle_state == NEEDS_ATTENTION:
        details = oke.lifecycle_details or "see the node pool's work requests in Oracle's console"
        return True, PoolReason.NEEDS_ATTENTION, f"Oracle says the node pool needs attention: {details}"
    return False, PoolReason.UNSTALLED, "Nothing is in the way."
