"""Nodes that Oracle calls failed, inactive or worse: they have an instance, which costs until it is terminated."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from masktrain_operator.api.pool_status import NodeState
from masktrain_operator.core.pools.oke import OkeError, OkeNode
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.snapshot import slots_of
from masktrain_operator.core.pools.types import PoolContext
from tests.unit.operator.core.pools.contexts import BARE_METAL, CREATED, FOREIGN, standing
from tests.unit.operator.core.pools.oracle_says import OUT_OF_CAPACITY, listing, node, phantom, work_request

TIMED_OUT = OkeError("InternalError", "Node registration timed out.", "request-of-oracle")
BROKEN = {
    "failing": node(1, "FAILING"),
    "inactive": node(1, "INACTIVE"),
    "with an error, called active": node(1, "ACTIVE", TIMED_OUT),
    "with an error, called creating": node(1, "CREATING", TIMED_OUT),
}
BOOTING: dict[str, Any] = {"entry": {"joinedTime": None, "state": "Booting", "name": None}}


def without_kubernetes(context: PoolContext) -> PoolContext:
    return replace(context, observed=replace(context.observed, nodes=()))


def states(context: PoolContext) -> list[NodeState]:
    status = plan_pool(context).status
    assert status is not None
    return [entry.state for entry in status.nodes]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_node_that_never_joined_is_removed_by_its_instance(broken: OkeNode) -> None:
    """At once: it is no use to wait for the provisioning timeout, or for the hour that is paid for."""
    context = listing(without_kubernetes(standing(120, None, shape=BARE_METAL, **BOOTING)), broken)
    plan = plan_pool(context)
    assert [removal.instance_id for removal in plan.removals] == ["i-1"]
    assert plan.resize is None
    assert plan.status is not None
    assert plan.status.nodes[0].failure


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_node_that_is_idle_is_cordoned_at_once(broken: OkeNode) -> None:
    context = listing(standing(600, 0, shape=BARE_METAL), broken)
    (patch,) = [patch for patch in plan_pool(context).patches if patch.body.get("spec", {}).get("unschedulable")]
    assert patch.name == "node-1"
    assert states(context) == [NodeState.FAILED]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_broken_node_that_works_is_left_to_its_pods_and_gets_no_others(broken: OkeNode) -> None:
    context = listing(standing(600, None, pods=(FOREIGN,)), broken)
    plan = plan_pool(context)
    assert not plan.removals
    assert not [patch for patch in plan.patches if patch.body.get("spec")]
    assert states(context) == [NodeState.BUSY]
    assert not [slot for slot in slots_of(context, {}).slots if slot.open]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_no_gang_is_put_on_a_broken_node(broken: OkeNode) -> None:
    assert not slots_of(listing(standing(600, 0), broken), {}).slots
    never_joined = without_kubernetes(standing(120, None, **BOOTING))
    assert not slots_of(listing(never_joined, broken), {}).slots


def test_a_broken_node_of_people_is_neither_used_nor_removed() -> None:
    context = listing(standing(600, 600, by_operator=False), node(1, "FAILING"))
    assert not plan_pool(context).removals
    assert not [slot for slot in slots_of(context, {}).slots if slot.open]


def test_two_instances_that_failed_are_no_phantoms() -> None:
    """The size was lowered under them, and Oracle chose which instances go."""
    context = without_kubernetes(standing(120, None, count=2, **BOOTING))
    failed = work_request("FAILED", context.now, error=OUT_OF_CAPACITY)
    context = listing(context, node(1, "FAILING"), node(2, "INACTIVE"), work_requests=(failed,))
    plan = plan_pool(context)
    assert plan.resize is None
    assert [removal.instance_id for removal in plan.removals] == ["i-1", "i-2"]


@pytest.mark.parametrize("state", ["ACTIVE", "FAILING", "DELETING", "UNKNOWN_ENUM_VALUE"])
def test_the_size_is_never_set_below_the_instances_that_are_listed(state: str) -> None:
    """Also one that goes: Oracle may count it in the size until it is gone, and would then choose another victim."""
    context = standing(600, None, pods=(FOREIGN,))
    failed = work_request("FAILED", context.now, error=OUT_OF_CAPACITY)
    busy_and_another = (node(1), node(2, state), phantom(3))
    plan = plan_pool(listing(context, *busy_and_another, size=2, work_requests=(failed,)))
    assert plan.resize is None
    plan = plan_pool(listing(context, *busy_and_another, size=3, work_requests=(failed,)))
    assert plan.resize is None or plan.resize.size >= 2


@pytest.mark.parametrize("entry", [phantom(2), phantom(2, error=None), phantom(2, error=None, state="INACTIVE")])
def test_an_entry_that_failed_without_an_instance_is_a_phantom(entry: OkeNode) -> None:
    plan = plan_pool(listing(standing(600, None, pods=(FOREIGN,)), node(1), entry))
    assert plan.resize is not None
    assert plan.resize.size == 1


def test_a_broken_node_that_works_again_stays_doomed() -> None:
    """What Oracle has once called failed may be terminated by its next change of the pool."""
    context = listing(standing(600, None, pods=(FOREIGN,)), node(1, "FAILING"))
    status = plan_pool(context).status
    assert status is not None
    pool = context.pool.model_copy(update={"status": status})
    later = listing(standing(660, 0), node(1))
    later = replace(later, pool=pool, now=CREATED + timedelta(seconds=660))
    assert states(later) == [NodeState.FAILED]
    assert not slots_of(later, {}).slots
