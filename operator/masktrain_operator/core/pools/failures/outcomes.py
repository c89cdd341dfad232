"""What came of a plan's calls to Oracle, written into the status: what was not accepted, and for how long."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime

from masktrain_operator.api.pool_status import (
    GPUNodePoolStatus,
    PoolNodeStatus,
    PoolReason,
    RefusedChanges,
    RemovalRefusal,
)
from masktrain_operator.core.pools.deadlines import is_backing_off, is_due, refusal_is_long
from masktrain_operator.core.pools.scale_up import growth_refused
from masktrain_operator.core.pools.types import PoolContext, PoolPlan

from .backoff import back_off


@dataclass(frozen=True)
class Denial:
    """A change that Oracle did not accept. `lasts`: whether waiting does not cure it, as far as the answer tells.

    `instance_id`: of a removal; without one it is the size that was not changed. `is_unknown`: whether no answer came,
    so that it may yet be carried out.
    """

    sentence: str
    lasts: bool
    instance_id: str | None = None
    is_limit: bool = False
    is_unknown: bool = False


@dataclass(frozen=True)
class Outcome:
    """`accepted`: instances whose removal was; `resized`: whether the size was changed."""

    denials: tuple[Denial, ...] = ()
    accepted: Collection[str] = ()
    resized: bool = False


def after_calls(context: PoolContext, plan: PoolPlan, status: GPUNodePoolStatus, outcome: Outcome) -> GPUNodePoolStatus:
    """The plan's status, in which accepted removals are written down already, with all that was not accepted."""
    if plan.resize is not None and not outcome.resized:
        # The intention stays, and is carried out by a later plan.
        status = status.model_copy(update={"scale_up": context.status.scale_up})
    status = _removals_refused(status, outcome.denials, context.now)
    status = _changes_refused(status, plan, outcome, context.now)
    for denial in outcome.denials:
        if denial.instance_id is None:
            status = _size_refused(context, status, denial)
    return status


def _size_refused(context: PoolContext, status: GPUNodePoolStatus, denial: Denial) -> GPUNodePoolStatus:
    now, uid = context.now, context.pool.metadata.uid
    is_long = is_due(refusal_is_long(status), now)
    if denial.is_unknown:
        # Whatever comes of it is the operator's: what nobody answers for would stay, and cost, for ever.
        asked = status.scale_up and status.scale_up.model_copy(update={"requested_time": now})
        status = status.model_copy(update={"scale_up": asked})
        return back_off(status, uid, PoolReason.GROWTH_REFUSED, denial.sentence, now) if is_long else status
    if not denial.lasts and not is_long:
        return status
    reason = PoolReason.LIMIT_EXCEEDED if denial.is_limit else PoolReason.GROWTH_REFUSED
    return growth_refused(status, uid, denial.sentence, now, reason)


def _removals_refused(status: GPUNodePoolStatus, denials: Iterable[Denial], now: datetime) -> GPUNodePoolStatus:
    # What may have been done is written down as done already.
    refused = {denial.instance_id: denial for denial in denials if denial.instance_id and not denial.is_unknown}
    if not refused:
        return status
    nodes = [
        _refused(entry, refused[entry.instance_id], now) if entry.instance_id in refused else entry
        for entry in status.nodes
    ]
    return status.model_copy(update={"nodes": nodes})


def _refused(entry: PoolNodeStatus, denial: Denial, now: datetime) -> PoolNodeStatus:
    refusal = RemovalRefusal(time=now, message=denial.sentence) if denial.lasts else entry.removal_refusal
    return entry.model_copy(update={"removal_tries": entry.removal_tries + 1, "removal_refusal": refusal})


def _changes_refused(status: GPUNodePoolStatus, plan: PoolPlan, outcome: Outcome, now: datetime) -> GPUNodePoolStatus:
    """Since when nothing at all is accepted, until something is, or nothing is wanted any more."""
    passing = next((denial for denial in outcome.denials if not denial.lasts), None)
    if outcome.accepted or outcome.resized:
        return status.model_copy(update={"refused_changes": None})
    if passing is not None:
        since = status.refused_changes.since if status.refused_changes else now
        return status.model_copy(update={"refused_changes": RefusedChanges(since=since, message=passing.sentence)})
    # What is only intended yet will be asked for by the next plan.
    wants_nothing = plan.resize is None and not plan.removals and status.scale_up is None
    if wants_nothing and not is_backing_off(status, now):
        return status.model_copy(update={"refused_changes": None})
    return status
