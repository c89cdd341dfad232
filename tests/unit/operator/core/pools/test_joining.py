"""Nodes that are paid for and do not come to work: how long they are waited for, and what they lack."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState, PoolReason
from masktrain_operator.core.pools.admission import Placement
from masktrain_operator.core.pools.packing import NodeSlot
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.snapshot import slots_of
from masktrain_operator.core.pools.types import PoolContext
from tests.unit.operator.core.pools.contexts import BARE_METAL, CREATED, MINUTE, VM, standing
from tests.unit.operator.core.pools.gangs import gang

GIB = Decimal(2**30)


def booting(age: float, *, shape: str = VM, node: dict[str, Any] | None = None, **fields: Any) -> PoolContext:
    """A node that has not come to work so many seconds after its creation; without `node` Kubernetes knows none."""
    entry = {"joinedTime": None, "state": "Booting", "name": None}
    context = standing(age, None, shape=shape, node=node, entry=entry, **fields)
    return context if node is not None else replace(context, observed=replace(context.observed, nodes=()))


def planned(context: PoolContext) -> GPUNodePoolStatus:
    status = plan_pool(context).status
    assert status is not None
    return status


@pytest.mark.parametrize(
    ("shape", "age", "is_given_up"),
    [
        (VM, 20 * MINUTE - 1, False),
        (VM, 20 * MINUTE, True),
        (BARE_METAL, 20 * MINUTE, False),
        (BARE_METAL, 57 * MINUTE - 1, False),
        (BARE_METAL, 57 * MINUTE, True),
    ],
)
def test_bare_metal_may_boot_for_as_long_as_it_is_paid_for(shape: str, age: float, is_given_up: bool) -> None:
    context = booting(age, shape=shape)
    assert bool(plan_pool(context).removals) is is_given_up
    assert bool(slots_of(context, {}).slots) is not is_given_up


def test_a_longer_timeout_of_the_pools_own_counts() -> None:
    assert not plan_pool(booting(57 * MINUTE, shape=BARE_METAL, provisioningTimeoutSeconds=7200)).removals


def test_what_failed_boots_have_cost_is_told() -> None:
    status = planned(booting(57 * MINUTE, shape=BARE_METAL))
    assert status.failed_boots is not None
    assert (status.failed_boots.count, status.failed_boots.amount) == (1, "8.0000")
    assert status.backoff is not None
    assert status.backoff.reason == PoolReason.PROVISIONING_TIMEOUT
    assert "8.00 USD" in status.backoff.message


def test_each_node_is_counted_once() -> None:
    context = booting(57 * MINUTE, shape=BARE_METAL)
    again = context.pool.model_copy(update={"status": planned(context)})
    status = planned(replace(context, pool=again, now=context.now + timedelta(seconds=300)))
    assert status.failed_boots is not None
    assert status.failed_boots.count == 1


def test_nodes_of_one_try_fail_together() -> None:
    status = planned(booting(57 * MINUTE, shape=BARE_METAL, count=4))
    assert status.failed_boots is not None
    assert (status.failed_boots.count, status.failed_boots.amount) == (1, "32.0000")


def test_tries_are_capped() -> None:
    """Each costs an hour of bare metal, and there were forty a day."""
    remembered = {"failedBoots": {"count": 2, "amount": "16.0000"}}
    context = booting(57 * MINUTE, shape=BARE_METAL, remembered=remembered)
    status = planned(context)
    assert status.backoff is not None
    assert status.backoff.until >= context.now + timedelta(hours=2)
    assert "3 tries in a row brought no node that works and have cost 24.00 USD" in status.backoff.message
    assert PoolReason.PROVISIONING_TIMEOUT in [event.reason for event in plan_pool(context).events]


def test_a_node_that_works_ends_the_count() -> None:
    remembered = {"failedBoots": {"count": 2, "amount": "16.0000"}}
    assert planned(booting(300, node={}, remembered=remembered)).failed_boots is None


LACKING: dict[str, tuple[dict[str, Any], str]] = {
    "a GPU": ({"gpus": 1, "ready_changed": CREATED}, "1 of 2 GPUs"),
    "a driver that is new enough": ({"labels": {"nvidia.com/cuda.driver-version.full": "470.82.01"}}, "470.82.01"),
    "one, in the older labels": (
        {"labels": {"nvidia.com/cuda.driver.major": "470", "nvidia.com/cuda.driver.minor": "82"}},
        "470.82",
    ),
    "storage": ({"storage": 12 * GIB}, "12 GiB"),
}


@pytest.mark.parametrize(("node", "word"), LACKING.values(), ids=LACKING)
def test_what_a_node_lacks_is_said_before_a_gang_is_put_there(node: dict[str, Any], word: str) -> None:
    context = booting(600, node=node)
    plan = plan_pool(context)
    (entry,) = planned(context).nodes
    assert entry.state is NodeState.FAILED
    assert word in (entry.failure or "")
    assert not slots_of(context, {}).slots
    assert [patch.name for patch in plan.patches if patch.body.get("spec", {}).get("unschedulable")] == ["node-1"]
    assert [event.reason for event in plan.events].count("NodeFailed") == 1
    assert planned(context).backoff is not None


FITTING: dict[str, dict[str, Any]] = {
    "nothing is said": {},
    "a driver that is new enough": {"labels": {"nvidia.com/cuda.driver-version.full": "580.65.06"}},
    "a driver nobody can read": {"labels": {"nvidia.com/cuda.driver-version.full": "latest"}},
    "enough storage": {"storage": 36 * GIB},
    "more GPUs": {"gpus": 3},
}


@pytest.mark.parametrize("node", FITTING.values(), ids=FITTING)
def test_a_node_that_lacks_nothing_joins(node: dict[str, Any]) -> None:
    (entry,) = planned(booting(600, node=node)).nodes
    assert (entry.state, entry.failure) == (NodeState.IDLE, None)


def test_a_node_whose_gpus_are_not_all_there_yet_is_waited_for() -> None:
    context = booting(600, node={"gpus": 1, "ready_changed": CREATED + timedelta(seconds=580)})
    assert planned(context).nodes[0].state is NodeState.BOOTING
    assert not [slot for slot in slots_of(context, {}).slots if slot.present]


def test_a_node_has_to_have_the_storage_that_its_gang_asks_for() -> None:
    context = booting(600, node={"storage": 36 * GIB})
    asking = replace(gang("masks"), storage=100 * GIB)
    placements = (Placement(asking, "gpu", (NodeSlot("i-1", 2, present=False),)),)
    context = replace(context, observed=replace(context.observed, placements=placements))
    assert "100 GiB" in (planned(context).nodes[0].failure or "")


def test_a_node_that_has_joined_is_not_checked_again() -> None:
    context = standing(600, 10, node={"gpus": 1, "storage": 1 * GIB})
    assert planned(context).nodes[0].state is NodeState.IDLE


def test_a_node_of_people_is_taken_as_it_is() -> None:
    context = booting(600, node={"gpus": 1, "storage": 1 * GIB}, by_operator=False)
    assert planned(context).nodes[0].failure is None
