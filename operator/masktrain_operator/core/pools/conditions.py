"""The conditions of a pool, from its inventory and what Oracle says."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from masktrain_operator.api.pool_status import GPUNodePoolStatus, PoolConditionType, PoolNodeStatus, PoolReason
from masktrain_operator.core.shapes import Fit
from masktrain_operator.core.status.conditions import find_condition, set_condition

from .billing import for_people
from .deadlines import in_maintenance, is_due, refusal_is_long, removal_is_stuck, unlisted_for_long
from .oke import OkeError
from .scale_up import last_error
from .types import PoolContext

NEEDS_ATTENTION = "NEEDS_ATTENTION"
MOST_TOLD = 5
"""Instances in one sentence; `status.nodes` has them all."""
OTHER_SHAPE = (
    "no node is added; use a node pool of another shape (`masktrain prices` lists them), or set skipShapeCheck if the "
    "jobs bring an image that runs there."
)
Finding = tuple[bool | None, str, str]
"""Whether a condition holds (None: not known), its reason and its sentence. A reason that an earlier life of
the operator stored may be one that this version does not know."""


def with_conditions(context: PoolContext, status: GPUNodePoolStatus) -> GPUNodePoolStatus:
    findings = {
        PoolConditionType.REACHABLE: (True, PoolReason.ANSWERED, _answered(context)),
        PoolConditionType.CAPACITY_AVAILABLE: _capacity(status),
        PoolConditionType.PAUSED: _paused(context),
        PoolConditionType.RECONCILING: _reconciling(context, status),
        PoolConditionType.STALLED: _stalled(context, status),
        PoolConditionType.NAMESPACES_RESTRICTED: _restricted(context),
        PoolConditionType.SHAPE_SUPPORTED: _supported(context),
    }
    for kind, (holds, reason, message) in findings.items():
        status = set_condition(status, kind, holds, reason=reason, message=message, now=context.now)
    return status


def with_refused_writes(status: GPUNodePoolStatus, sentences: Sequence[str], now: datetime) -> GPUNodePoolStatus:
    """What the API server did not take of the last plan. Nothing is said where nothing ever was refused."""
    kind = PoolConditionType.WRITE_REFUSED
    if sentences:
        message = " ".join(sentences)
        return set_condition(status, kind, True, reason=PoolReason.WRITE_REFUSED, message=message, now=now)
    if find_condition(status, kind) is None:
        return status
    message = "Nothing is refused any more."
    return set_condition(status, kind, False, reason=PoolReason.ACCEPTED, message=message, now=now)


def with_invalid_spec(status: GPUNodePoolStatus, generation: int, sentence: str, now: datetime) -> GPUNodePoolStatus:
    """Of a pool whose spec this version cannot read, and so leaves alone."""
    status = status.model_copy(update={"observed_generation": generation})
    kind, reason = PoolConditionType.STALLED, PoolReason.INVALID_SPEC
    return set_condition(status, kind, True, reason=reason, message=sentence, now=now)


def with_refusal(status: GPUNodePoolStatus, error: OkeError, reason: str, now: datetime) -> GPUNodePoolStatus:
    """The status of a pool of which Oracle's API refuses to show or do something; `reason` is one CamelCase word."""
    kind = PoolConditionType.REACHABLE
    status = status.model_copy(update={"last_error": last_error(error, now)})
    return set_condition(status, kind, False, reason=reason, message=error.message, now=now)


def _answered(context: PoolContext) -> str:
    unread = context.observed.oke.unread
    return "Oracle's API answers." if unread is None else f"Oracle's API answers, but not all. {unread}"


def _capacity(status: GPUNodePoolStatus) -> Finding:
    if status.backoff is None:
        return True, PoolReason.CAPACITY_FOUND, "Nothing that was asked for was refused."
    return False, status.backoff.reason, status.backoff.message


def _paused(context: PoolContext) -> Finding:
    if context.pool.spec.paused:
        return True, PoolReason.PAUSED, "spec.paused is set: the pool neither grows nor shrinks."
    if in_maintenance(context):
        return True, PoolReason.MAINTENANCE, "The maintenance annotation is set: the pool neither grows nor shrinks."
    return False, PoolReason.NOT_PAUSED, "The pool grows and shrinks."


def _reconciling(context: PoolContext, status: GPUNodePoolStatus) -> Finding:
    oke = context.observed.oke
    if status.scale_up is not None or oke.coming:
        return True, PoolReason.GROWING, f"Growing to {max(oke.size, status.scale_up.size if status.scale_up else 0)}."
    leaving = sum(entry.doomed_time is not None for entry in status.nodes)
    if leaving:
        return True, PoolReason.SHRINKING, f"{leaving} nodes are being terminated."
    return False, PoolReason.SETTLED, f"{oke.size} nodes."


def _restricted(context: PoolContext) -> Finding:
    if context.pool.spec.allowed_namespaces is None:
        message = "Jobs of all namespaces may use the pool: set allowedNamespaces to choose them by labels."
        return False, PoolReason.ALL_NAMESPACES, message
    return (
        True,
        PoolReason.SELECTED_NAMESPACES,
        "Jobs of the namespaces that allowedNamespaces selects may use the pool.",
    )


def _supported(context: PoolContext) -> Finding:
    check = context.shape_check
    if check.fit is Fit.RUNS:
        return True, PoolReason.IMAGE_RUNS, f"{check.sentence}."
    if check.fit is Fit.NOT_CHECKED:
        message = f"{check.sentence}: try it with one node before the pool may grow to more."
        return None, PoolReason.SHAPE_NOT_CHECKED, message
    if context.is_refused:
        return False, PoolReason.SHAPE_NOT_SUPPORTED, f"{check.sentence}: {OTHER_SHAPE}"
    message = f"{check.sentence}: skipShapeCheck is set, so jobs that name the pool are put there with their own image."
    return None, PoolReason.SHAPE_NOT_CHECKED, message


def _stalled(context: PoolContext, status: GPUNodePoolStatus) -> Finding:
    oke = context.observed.oke
    if context.is_refused:
        return True, PoolReason.SHAPE_NOT_SUPPORTED, f"{context.shape_check.sentence}: {OTHER_SHAPE}"
    if context.gpus_per_node is None:
        message = f"Shape {oke.shape} is not in the table of shapes: set gpusPerNode, and hourlyPrice for costs."
        return True, PoolReason.UNKNOWN_SHAPE, message
    if oke.lifecycle_state == NEEDS_ATTENTION:
        details = oke.lifecycle_details or "see the node pool's work requests in Oracle's console"
        return True, PoolReason.NEEDS_ATTENTION, f"Oracle says the node pool needs attention: {details}"
    findings = [*_stuck(context, status), *_unlisted(context, status), *_refused(status)]
    if is_due(refusal_is_long(status), context.now) and status.refused_changes is not None:
        refused = status.refused_changes
        message = f"Oracle has taken no change of the node pool since {refused.since:%H:%M:%SZ}. {refused.message}"
        findings.append((PoolReason.CHANGES_REFUSED, message))
    if not findings:
        return False, PoolReason.UNSTALLED, "Nothing is in the way."
    return True, findings[0][0], " ".join(message for _, message in findings[:MOST_TOLD])


def _stuck(context: PoolContext, status: GPUNodePoolStatus) -> Iterator[tuple[str, str]]:
    for entry in status.nodes:
        if is_due(removal_is_stuck(context.pool, entry), context.now):
            oke_node = context.oke_nodes.get(entry.instance_id)
            shown = "no longer lists it" if oke_node is None else f"shows it as {oke_node.lifecycle_state}"
            since = f"{entry.doomed_time:%H:%M:%SZ}"
            what = f"Instance {entry.instance_id} has been going since {since} and is not gone: Oracle {shown}."
            yield PoolReason.REMOVAL_STUCK, f"{what}{_words(context, entry)} {_at_oracle(status)}"


def _words(context: PoolContext, entry: PoolNodeStatus) -> str:
    """What Oracle said last of the removal."""
    request = context.observed.oke.work_request(entry.work_request_id)
    said = [error.message for error in request.errors] if request is not None else []
    if entry.removal_refusal is not None:
        said.append(entry.removal_refusal.message)
    return f' It said "{said[0].rstrip(".")}".' if said else ""


def _unlisted(context: PoolContext, status: GPUNodePoolStatus) -> Iterator[tuple[str, str]]:
    for entry in status.nodes:
        is_told = is_due(removal_is_stuck(context.pool, entry), context.now)
        if not is_told and is_due(unlisted_for_long(entry), context.now):
            what = f"The node pool has not listed instance {entry.instance_id} since {entry.unlisted_time:%H:%M:%SZ}"
            yield PoolReason.INSTANCE_UNLISTED, f"{what}, and nobody knows of its end. {_at_oracle(status)}"


def _refused(status: GPUNodePoolStatus) -> Iterator[tuple[str, str]]:
    for entry in status.nodes:
        if entry.removal_refusal is not None and entry.doomed_time is None:
            message = f"Instance {entry.instance_id} cannot be removed. {entry.removal_refusal.message}"
            yield PoolReason.REMOVAL_REFUSED, message


def _at_oracle(status: GPUNodePoolStatus) -> str:
    rate = f" at {for_people(status.hourly_rate)} an hour" if status.hourly_rate else ""
    return f"It may cost on{rate}: see Oracle's console, and terminate it there if it still runs."
