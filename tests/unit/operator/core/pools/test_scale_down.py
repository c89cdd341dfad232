"""When a node goes: never one that works, is wanted, or is a person's; bare metal not before its hour is used up."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import NodeState
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.types import PoolContext, PoolPlan
from masktrain_operator.core.times import format_time
from tests.unit.operator.core.pools.contexts import BARE_METAL, CREATED, FOREIGN, MINUTE, VM, standing


def cordons(plan: PoolPlan) -> list[str]:
    return [patch.name for patch in plan.patches if patch.body.get("spec", {}).get("unschedulable")]


def uncordons(plan: PoolPlan) -> list[str]:
    return [
        patch.name for patch in plan.patches if patch.body.get("spec", {"unschedulable": 0})["unschedulable"] is None
    ]


AGES = {
    "a VM after the idle time": (VM, 10 * MINUTE, 120, True),
    "a VM not a second before": (VM, 10 * MINUTE, 119, False),
    "young bare metal stays, it is paid for": (BARE_METAL, 30 * MINUTE, 20 * MINUTE, False),
    "bare metal just before its 57th minute": (BARE_METAL, 57 * MINUTE - 1, 40 * MINUTE, False),
    "bare metal shortly before its first hour ends": (BARE_METAL, 57 * MINUTE, 40 * MINUTE, True),
    "bare metal that has just become idle then": (BARE_METAL, 57 * MINUTE, 60, False),
    "older bare metal after the idle time": (BARE_METAL, 61 * MINUTE, 120, True),
    "older bare metal not before": (BARE_METAL, 300 * MINUTE, 119, False),
}


@pytest.mark.parametrize(("shape", "age", "idle", "goes"), AGES.values(), ids=AGES)
def test_when_an_idle_node_goes(shape: str, age: float, idle: float, goes: bool) -> None:
    plan = plan_pool(standing(age, idle, shape=shape))
    assert cordons(plan) == (["node-1"] if goes else [])
    assert not plan.removals


def test_the_next_look_is_when_the_node_is_due() -> None:
    assert plan_pool(standing(10 * MINUTE, 90)).requeue_after == 30
    assert plan_pool(standing(56.5 * MINUTE, 20 * MINUTE, shape=BARE_METAL)).requeue_after == 30


@pytest.mark.parametrize(
    ("minimum", "age", "goes"), [(0, 300, True), (600, 480, True), (600, 299, False), (1800, 20 * 60, False)]
)
def test_a_minimum_of_the_pools_own(minimum: int, age: float, goes: bool) -> None:
    """It is given back three minutes before the minimum ends, or halfway through a shorter one."""
    assert bool(cordons(plan_pool(standing(age, 240, minimumBilledSeconds=minimum)))) is goes


KEPT: dict[str, Callable[[], PoolContext]] = {
    "a pod of somebody else": lambda: standing(600, 600, pods=(FOREIGN,)),
    "pods that are not known": lambda: standing(600, 600, pods=None),
    "added by a person": lambda: standing(600, 600, by_operator=False, annotations={labels.ADDED_ANNOTATION: None}),
    "kept by a person": lambda: standing(600, 600, annotations={labels.KEEP_ANNOTATION: "true"}),
    "kept in the words of another autoscaler": lambda: standing(
        600, 600, annotations={labels.AUTOSCALER_KEEP_ANNOTATION: "true"}
    ),
    "the pool is paused": lambda: standing(600, 600, paused=True),
    "it may not shrink": lambda: standing(600, 600, scaleDown={"enabled": False}),
    "the pool's minimum": lambda: standing(600, 600, minNodes=1),
}


@pytest.mark.parametrize("context", KEPT.values(), ids=KEPT)
def test_what_keeps_a_node(context: Callable[[], PoolContext]) -> None:
    plan = plan_pool(context())
    assert not cordons(plan)
    assert not plan.removals


REMOVAL_BEGUN = {"cordoned": True}


def draining(seconds: float, **fields: Any) -> PoolContext:
    """A node that was cordoned so many seconds ago to be removed."""
    begun = CREATED + timedelta(seconds=600 - seconds)
    annotations = {labels.REMOVAL_ANNOTATION: format_time(begun)}
    return standing(600, 600, annotations=annotations, node=REMOVAL_BEGUN, **fields)


def test_a_cordoned_node_is_looked_at_again_before_it_goes() -> None:
    assert not plan_pool(draining(4)).removals
    (removal,) = plan_pool(draining(5)).removals
    assert (removal.instance_id, removal.drain_seconds) == ("i-1", 30)


@pytest.mark.parametrize(
    "spoilt",
    [
        pytest.param({"pods": (FOREIGN,)}, id="a pod came"),
        pytest.param({"paused": True}, id="paused"),
        pytest.param({"minNodes": 1}, id="needed for the minimum"),
    ],
)
def test_a_cordoned_node_that_is_wanted_again_is_given_back(spoilt: dict[str, Any]) -> None:
    plan = plan_pool(draining(60, **spoilt))
    assert uncordons(plan) == ["node-1"]
    assert not plan.removals


def test_no_more_removals_begin_in_a_minute_than_the_budget_allows() -> None:
    context = standing(600, 600, count=5, scaleDown={"maxRemovalsPerMinute": 2})
    assert len(cordons(plan_pool(context))) == 2
    begun = {labels.REMOVAL_ANNOTATION: format_time(CREATED)}
    context = standing(600, 600, count=5, annotations=begun, node=REMOVAL_BEGUN, scaleDown={"maxRemovalsPerMinute": 2})
    plan = plan_pool(context)
    assert len(plan.removals) == 2
    assert plan.status is not None
    assert len(plan.status.recent_removals) == 2


def test_the_minimum_is_kept_in_nodes_that_work() -> None:
    assert len(cordons(plan_pool(standing(600, 600, count=3, minNodes=2)))) == 1


def test_a_node_that_kubernetes_lost_goes_without_waiting() -> None:
    """Its first hour does not matter: it can be of no use any more."""
    lost = {"ready": False, "ready_changed": CREATED + timedelta(seconds=600)}
    plan = plan_pool(standing(720, 0, shape=BARE_METAL, node=lost))
    assert plan.status is not None
    assert plan.status.nodes[0].state is NodeState.LOST
    assert cordons(plan) == ["node-1"]


FAR = CREATED + timedelta(days=365 * 74)


def test_an_idle_time_of_the_future_counts_from_now() -> None:
    """Else an annotation would keep a node that nobody uses, and that the pool pays for, until then."""
    context = standing(600, None, annotations={labels.IDLE_SINCE_ANNOTATION: format_time(FAR)}, idleSeconds=120)
    plan = plan_pool(context)
    (patch,) = plan.patches
    assert patch.body["metadata"]["annotations"] == {labels.IDLE_SINCE_ANNOTATION: format_time(context.now)}
    assert plan.status is not None
    assert plan.status.nodes[0].idle_since == context.now


def test_a_removal_of_the_future_is_begun_anew() -> None:
    marks = {labels.REMOVAL_ANNOTATION: format_time(FAR)}
    context = standing(600, 300, annotations=marks, node={"cordoned": True})
    (patch,) = plan_pool(context).patches
    assert patch.body["metadata"]["annotations"] == {labels.REMOVAL_ANNOTATION: format_time(context.now)}


@pytest.mark.parametrize("value", ["2100-01-01T00:00:00Z", "1e300", "yes", "TRUE", ""])
def test_only_one_word_keeps_a_node(value: str) -> None:
    """No time does, however far ahead."""
    assert cordons(plan_pool(standing(600, 300, annotations={labels.KEEP_ANNOTATION: value}))) == ["node-1"]
