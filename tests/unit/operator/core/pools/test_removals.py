"""What was asked of Oracle about a node cannot be taken back: it goes, is asked for again, and is never used again."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import NodeState, PoolReason
from masktrain_operator.core.pools.oke import OkeError
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.snapshot import slots_of
from masktrain_operator.core.pools.types import PoolContext, PoolPlan
from masktrain_operator.core.times import format_time
from tests.unit.operator.core.pools.contexts import CREATED, FOREIGN, standing
from tests.unit.operator.core.pools.oracle_says import listing, node, work_request

AGE = 7200.0
NOW = CREATED + timedelta(seconds=AGE)
NOT_EVICTED = OkeError("EvictionFailed", "Unable to delete node node-1: pods could not be evicted.")


def asked(seconds: float, *, tries: int = 1, annotated: bool = True, **fields: Any) -> PoolContext:
    """A node whose termination was asked for so many seconds ago."""
    moment = format_time(NOW - timedelta(seconds=seconds))
    entry = {"state": "Deleting", "removalRequestedTime": moment, "doomedTime": moment, "removalTries": tries}
    marks = {labels.REMOVAL_ANNOTATION: moment}
    if annotated:
        marks[labels.DOOMED_ANNOTATION] = "i-1"
    return standing(
        AGE,
        None,
        annotations={**marks, labels.IDLE_SINCE_ANNOTATION: None},
        node={"cordoned": True},
        entry=entry | {"workRequestId": "request"} | fields.pop("entry", {}),
        **fields,
    )


def stalled(plan: PoolPlan) -> tuple[str, str]:
    assert plan.status is not None
    found = next(condition for condition in plan.status.conditions if condition.type == "Stalled")
    return found.reason, found.message


def uncordons(plan: PoolPlan) -> list[str]:
    return [
        patch.name for patch in plan.patches if patch.body.get("spec", {"unschedulable": 0})["unschedulable"] is None
    ]


@pytest.mark.parametrize("seconds", [5, 61, 300, 4000])
@pytest.mark.parametrize("drain", [0, 30, 600])
def test_a_node_that_was_asked_for_is_never_given_back(seconds: float, drain: int) -> None:
    """Oracle shows it as active for as long as it drains, and a gang was put there after a minute."""
    context = asked(seconds, scaleDown={"drainSeconds": drain})
    assert not uncordons(plan_pool(context))
    assert not slots_of(context, {}).slots
    assert not uncordons(plan_pool(replace(context, pool=_paused(context))))


def _paused(context: PoolContext) -> Any:
    return context.pool.model_copy(update={"spec": context.pool.spec.model_copy(update={"paused": True})})


def test_one_of_which_only_the_node_says_so_is_never_given_back_either() -> None:
    """An operator that was killed between the call and its status."""
    forgotten = {"removalRequestedTime": None, "doomedTime": None, "state": "Draining", "workRequestId": None}
    context = asked(20, entry=forgotten, minNodes=1)
    plan = plan_pool(context)
    assert not uncordons(plan)
    assert not slots_of(context, {}).slots
    assert [removal.instance_id for removal in plan.removals] == ["i-1"]


def test_a_mark_of_another_machine_of_the_same_name_says_nothing() -> None:
    context = standing(600, 10, annotations={labels.DOOMED_ANNOTATION: "i-of-before"})
    assert len(slots_of(context, {}).slots) == 1


def test_one_that_oracle_was_seen_to_terminate_is_never_used_again() -> None:
    """Whoever asked for it: a failed deletion is tried again by the next change of the pool."""
    going = listing(standing(600, 10), node(1, "DELETING"))
    status = plan_pool(going).status
    assert status is not None
    pool = going.pool.model_copy(update={"status": status})
    back = replace(standing(700, 10), pool=pool)
    assert not slots_of(back, {}).slots
    cordons = [patch for patch in plan_pool(back).patches if patch.body.get("spec", {}).get("unschedulable")]
    assert [patch.name for patch in cordons] == ["node-1"]


def test_one_that_is_only_missing_from_a_list_is_used_again_once_it_is_back() -> None:
    """Lists of Oracle may be some seconds old."""
    missing = listing(standing(600, 10), size=1)
    status = plan_pool(missing).status
    assert status is not None
    back = standing(605, 15)
    back = replace(back, pool=missing.pool.model_copy(update={"status": status}))
    (slot,) = slots_of(back, {}).slots
    assert slot.open


def test_a_gang_goes_on_where_a_list_has_lost_its_node() -> None:
    """Nor does anything grow for it."""
    context = listing(standing(600, None, pods=(FOREIGN,)), size=1)
    plan = plan_pool(context)
    assert plan.status is not None
    assert plan.status.nodes[0].state is NodeState.BUSY
    assert not plan.removals


REPEATS = {
    "not while it may drain": (89, 30, (), "ACTIVE", False),
    "after the drain and a margin": (90, 30, (), "ACTIVE", True),
    "not while a long drain lasts": (659, 600, (), "ACTIVE", False),
    "after a long drain": (660, 600, (), "ACTIVE", True),
    "not while Oracle works on it": (300, 30, ("IN_PROGRESS",), "ACTIVE", False),
    "when Oracle says it has failed": (60, 600, ("FAILED",), "ACTIVE", True),
    "not at once, though": (20, 600, ("FAILED",), "ACTIVE", False),
    "not while it is going": (899, 30, (), "DELETING", False),
    "unless that takes for ever": (900, 30, (), "DELETING", True),
    "or its work request does": (900, 30, ("IN_PROGRESS",), "ACTIVE", True),
}


@pytest.mark.parametrize(("seconds", "drain", "requests", "state", "again"), REPEATS.values(), ids=REPEATS)
def test_when_it_is_asked_for_again(
    seconds: float, drain: int, requests: tuple[str, ...], state: str, again: bool
) -> None:
    context = asked(seconds, scaleDown={"drainSeconds": drain})
    works = tuple(work_request(status, NOW - timedelta(seconds=seconds), "i-1") for status in requests)
    context = listing(context, node(1, state), size=1, work_requests=works)
    plan = plan_pool(context)
    assert bool(plan.removals) is again
    assert not uncordons(plan)
    (removal,) = plan.removals or (None,)
    assert removal is None or removal.is_repeated


def test_tries_that_come_to_nothing_grow_rarer() -> None:
    assert not plan_pool(asked(149, tries=2)).removals
    assert plan_pool(asked(150, tries=2)).removals
    assert plan_pool(asked(900, tries=20)).removals


def test_a_pod_on_a_doomed_node_is_not_hurried() -> None:
    assert not plan_pool(asked(300, pods=(FOREIGN,))).removals


def test_a_doomed_node_that_a_person_opens_is_closed_again() -> None:
    context = asked(30)
    nodes = tuple(replace(kube, cordoned=False) for kube in context.observed.nodes)
    plan = plan_pool(replace(context, observed=replace(context.observed, nodes=nodes)))
    assert [patch.name for patch in plan.patches if patch.body.get("spec", {}).get("unschedulable")] == ["node-1"]


STUCK = {
    "going for ever": (node(1, "DELETING"),),
    "standing as if nothing had been said": (node(1),),
    "in no list, and running": (),
}


@pytest.mark.parametrize("nodes", STUCK.values(), ids=STUCK)
def test_a_removal_that_never_ends_is_said_after_a_quarter_of_an_hour(nodes: tuple[Any, ...]) -> None:
    def plan_after(seconds: float) -> PoolPlan:
        return plan_pool(listing(asked(seconds), *nodes, size=len(nodes)))

    assert stalled(plan_after(890))[0] == PoolReason.UNSTALLED
    plan = plan_after(905)
    reason, message = stalled(plan)
    assert reason == PoolReason.REMOVAL_STUCK
    assert "i-1" in message
    assert [event.reason for event in plan.events].count(PoolReason.REMOVAL_STUCK) == 1
    assert [removal.instance_id for removal in plan.removals] == ["i-1"]
    assert plan.status is not None
    known = {"conditions": [c.model_dump(mode="json", by_alias=True) for c in plan.status.conditions]}
    again = plan_pool(listing(asked(905, remembered=known), *nodes, size=len(nodes)))
    assert PoolReason.REMOVAL_STUCK not in [event.reason for event in again.events]


def test_oracles_own_words_are_told() -> None:
    failed = work_request("FAILED", NOW - timedelta(seconds=10), "i-1", error=NOT_EVICTED)
    plan = plan_pool(listing(asked(905), node(1), work_requests=(failed,)))
    assert NOT_EVICTED.message.rstrip(".") in stalled(plan)[1]


def test_an_idle_node_that_is_in_no_list_is_removed_or_said_within_a_quarter_of_an_hour() -> None:
    since = {"unlistedTime": format_time(NOW - timedelta(seconds=900))}
    plan = plan_pool(listing(standing(AGE, 600, entry=since), size=0))
    assert stalled(plan)[0] == PoolReason.INSTANCE_UNLISTED
    assert "i-1" in stalled(plan)[1]
    cordoned: dict[str, Any] = {"annotations": {labels.REMOVAL_ANNOTATION: format_time(NOW - timedelta(seconds=10))}}
    plan = plan_pool(listing(standing(AGE, 600, entry=since, node={"cordoned": True}, **cordoned), size=0))
    assert [removal.instance_id for removal in plan.removals] == ["i-1"]


REFUSED = {"removalRefusal": {"time": format_time(NOW - timedelta(seconds=30)), "message": "Not allowed."}}


def test_a_removal_that_was_refused_waits_and_lets_others_go_first() -> None:
    begun = {labels.REMOVAL_ANNOTATION: format_time(NOW - timedelta(seconds=60))}
    fields: dict[str, Any] = {"count": 2, "annotations": begun, "node": {"cordoned": True}}
    fields["scaleDown"] = {"maxRemovalsPerMinute": 1}
    entries = [e.model_dump(mode="json", by_alias=True) for e in standing(AGE, 600, **fields).pool.status.nodes]
    entries[0] |= REFUSED | {"removalTries": 1}
    context = standing(AGE, 600, remembered={"nodes": entries}, **fields)
    plan = plan_pool(context)
    assert [removal.instance_id for removal in plan.removals] == ["i-2"]
    assert stalled(plan)[0] == PoolReason.REMOVAL_REFUSED
    assert "Not allowed." in stalled(plan)[1]
    later = plan_pool(replace(context, now=NOW + timedelta(seconds=90)))
    assert [removal.instance_id for removal in later.removals] == ["i-2"], "the one that was refused comes last"


def test_a_doomed_node_is_no_part_of_the_minimum() -> None:
    plan = plan_pool(asked(20, minNodes=1, maxNodes=3))
    assert plan.status is not None
    assert plan.status.scale_up is not None
    assert plan.status.scale_up.size == 2
