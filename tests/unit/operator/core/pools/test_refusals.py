"""What Oracle does not accept: for good, for a while, or for ever without saying so."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from masktrain_operator.api.pool_status import GPUNodePoolStatus, PoolReason
from masktrain_operator.core.pools.admission import Placement
from masktrain_operator.core.pools.failures.outcomes import Denial, Outcome, after_calls
from masktrain_operator.core.pools.oke import OkeError, Shortage, shortage_of
from masktrain_operator.core.pools.packing import NodeSlot
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.snapshot import slots_of
from masktrain_operator.core.pools.types import PoolContext, PoolPlan, Removal
from masktrain_operator.core.times import format_time
from tests.unit.operator.core.pools.contexts import CREATED, FOREIGN, standing
from tests.unit.operator.core.pools.gangs import gang
from tests.unit.operator.core.pools.oracle_says import listing, node, phantom

AGE = 3600.0
NOW = CREATED + timedelta(seconds=AGE)
SHAPE_UNAVAILABLE = 'Oracle answered 400 InvalidParameter, "The shape is not available in the domain of the subnet".'
BUSY = 'Oracle answered 409 IncorrectState, "The node pool image does not fit the Kubernetes version".'


def wanting(**remembered: Any) -> PoolContext:
    """An empty pool for which a gang has been admitted, and whose growth is written down already."""
    intended = {"size": 1, "adds": 1, "requestedTime": format_time(NOW - timedelta(seconds=1))}
    remembered = {"scaleUp": intended, "addedNodes": 1, **remembered}
    context = standing(AGE, None, count=0, maxNodes=3, remembered=remembered)
    placements = (Placement(gang("masks"), "gpu", (NodeSlot("1", 2, present=False, grown=True),)),)
    return replace(context, observed=replace(context.observed, placements=placements))


def status_of(plan: PoolPlan) -> GPUNodePoolStatus:
    assert plan.status is not None
    return plan.status


def after(context: PoolContext, plan: PoolPlan, outcome: Outcome) -> GPUNodePoolStatus:
    return after_calls(context, plan, status_of(plan), outcome)


def grown_status(context: PoolContext, *denials: Denial) -> GPUNodePoolStatus:
    plan = plan_pool(context)
    assert plan.resize is not None
    return after(context, plan, Outcome(denials))


def with_status(context: PoolContext, status: GPUNodePoolStatus, seconds: float) -> PoolContext:
    stored = GPUNodePoolStatus.model_validate(status.to_manifest())
    pool = context.pool.model_copy(update={"status": stored})
    return replace(context, pool=pool, now=context.now + timedelta(seconds=seconds))


def stalled(status: GPUNodePoolStatus) -> tuple[str, str]:
    found = next(condition for condition in status.conditions if condition.type == "Stalled")
    return found.reason, found.message


@pytest.mark.parametrize("is_limit", [False, True])
def test_a_growth_that_is_refused_for_good_is_waited_for_and_left_to_other_pools(is_limit: bool) -> None:
    """It was asked for every half minute, for ever, and no other pool was tried."""
    context = wanting()
    status = grown_status(context, Denial(SHAPE_UNAVAILABLE, lasts=True, is_limit=is_limit))
    assert status.backoff is not None
    assert status.backoff.reason == (PoolReason.LIMIT_EXCEEDED if is_limit else PoolReason.GROWTH_REFUSED)
    assert status.backoff.until >= NOW + timedelta(seconds=45)
    assert (status.scale_up, status.added_nodes) == (None, 0)
    later = with_status(context, status, 30)
    assert plan_pool(later).resize is None
    slots = slots_of(later, {})
    assert slots.growable == 0
    assert SHAPE_UNAVAILABLE in (slots.obstacle or "")


def test_a_growth_that_may_pass_keeps_its_intention() -> None:
    status = grown_status(wanting(), Denial(BUSY, lasts=False))
    assert status.backoff is None
    assert status.scale_up is not None
    assert status.added_nodes == 1


def test_a_growth_of_which_no_answer_came_stays_the_operators_however_long_that_lasts() -> None:
    """It may yet be carried out, and nobody would ever remove nodes that no operator answers for."""
    context = wanting(refusedChanges={"since": format_time(NOW - timedelta(seconds=700)), "message": "No answer."})
    status = grown_status(context, Denial("No answer.", lasts=False, is_unknown=True))
    assert status.backoff is not None
    assert status.scale_up is not None
    assert (status.added_nodes, status.scale_up.requested_time) == (1, NOW)
    nobody = replace(with_status(context, status, 30), observed=replace(context.observed, placements=()))
    assert status_of(plan_pool(nobody)).added_nodes == 1
    assert status_of(plan_pool(replace(nobody, now=NOW + timedelta(seconds=91)))).added_nodes == 0


def test_a_conflict_that_does_not_pass_is_said_and_left_to_other_pools() -> None:
    context = wanting()
    status = grown_status(context, Denial(BUSY, lasts=False))
    assert stalled(status_of(plan_pool(with_status(context, status, 590))))[0] == PoolReason.UNSTALLED
    late = with_status(context, status, 610)
    plan = plan_pool(late)
    reason, message = stalled(status_of(plan))
    assert reason == PoolReason.CHANGES_REFUSED
    assert "does not fit the Kubernetes version" in message
    assert [event.reason for event in plan.events].count(PoolReason.CHANGES_REFUSED) == 1
    status = after(late, plan, Outcome((Denial(BUSY, lasts=False),)))
    assert status.backoff is not None
    assert status.backoff.reason == PoolReason.GROWTH_REFUSED
    assert slots_of(with_status(late, status, 5), {}).growable == 0


def test_the_first_conflict_counts_until_something_is_accepted() -> None:
    context = wanting()
    first = grown_status(context, Denial(BUSY, lasts=False))
    again = with_status(context, first, 60)
    second = grown_status(again, Denial("Still busy.", lasts=False))
    assert first.refused_changes is not None
    assert second.refused_changes is not None
    assert second.refused_changes.message == "Still busy."
    assert second.refused_changes.since <= first.refused_changes.since
    assert after(again, plan_pool(again), Outcome(resized=True)).refused_changes is None


def test_nothing_is_refused_where_nothing_is_wanted_any_more() -> None:
    remembered = {"refusedChanges": {"since": format_time(NOW), "message": BUSY}}
    context = standing(AGE, None, pods=(FOREIGN,), remembered=remembered)
    assert after(context, plan_pool(context), Outcome()).refused_changes is None


def test_a_lowering_that_is_refused_for_good_is_not_tried_at_every_look() -> None:
    known = {"failures": 1, "until": format_time(NOW + timedelta(seconds=60)), "message": SHAPE_UNAVAILABLE}
    remembered = {"backoff": known | {"reason": PoolReason.GROWTH_REFUSED}}
    context = listing(standing(AGE, None, pods=(FOREIGN,), remembered=remembered), node(1), phantom(2))
    assert plan_pool(context).resize is None
    later = plan_pool(replace(context, now=NOW + timedelta(seconds=61))).resize
    assert later is not None
    assert later.size == 1


def test_what_is_about_to_be_asked_for_again_is_still_refused() -> None:
    """After each wait the intention is written down first, at a look that asks Oracle for nothing."""
    context = wanting(scaleUp=None, refusedChanges={"since": format_time(NOW), "message": BUSY})
    plan = plan_pool(context)
    assert plan.resize is None
    assert after(context, plan, Outcome()).refused_changes is not None


REMOVALS = (Removal("i-1", None, 0), Removal("i-2", None, 0))


def test_a_removal_that_is_refused_leaves_the_others_alone() -> None:
    context = standing(AGE, 600, count=2)
    plan = replace(plan_pool(context), removals=REMOVALS)
    denials = (Denial("Not allowed.", lasts=True, instance_id="i-1"),)
    status = after(context, plan, Outcome(denials, accepted=("i-2",)))
    refused, other = status.nodes
    assert refused.removal_refusal is not None
    assert (refused.removal_refusal.message, refused.removal_tries) == ("Not allowed.", 1)
    assert refused.doomed_time is None
    assert (other.removal_refusal, other.removal_tries) == (None, 0)
    assert status.backoff is None


def test_a_size_that_was_not_asked_for_after_a_removal_stays_intended() -> None:
    """Its etag is of before: the next plan has another one."""
    context = wanting()
    plan = plan_pool(context)
    assert after(context, plan, Outcome(accepted=("i-9",))).scale_up == context.status.scale_up


WORDS = {
    ("InternalError", "Out of host capacity."): Shortage.CAPACITY,
    ("", "Error returned by the service: (500, InternalError, false) Out of host capacity."): Shortage.CAPACITY,
    ("OutOfHostCapacity", "No hosts."): Shortage.CAPACITY,
    ("LimitExceeded", "gpu-count"): Shortage.LIMIT,
    ("InternalError", "(400, LimitExceeded, false) The service limit gpu-a10-count was exceeded."): Shortage.LIMIT,
    ("InvalidParameter", "QuotaExceeded: the quota of compartment vision is used up."): Shortage.LIMIT,
    ("InternalError", "Something else."): None,
}


@pytest.mark.parametrize(("error", "shortage"), WORDS.items(), ids=[message for _, message in WORDS])
def test_codes_that_stand_in_words_are_read(error: tuple[str, str], shortage: Shortage | None) -> None:
    assert shortage_of(*error) is shortage


def test_a_limit_in_words_of_a_phantom_is_a_limit() -> None:
    error = OkeError("InternalError", "(400, LimitExceeded, false) The service limit was exceeded.")
    status = status_of(plan_pool(listing(standing(AGE, None, pods=(FOREIGN,)), node(1), phantom(2, error))))
    assert status.backoff is not None
    assert status.backoff.reason == PoolReason.LIMIT_EXCEEDED
