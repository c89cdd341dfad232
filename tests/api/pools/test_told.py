"""What needs a person is told within its bound, and holds up nothing else meanwhile."""

import pytest

from masktrain_operator.api.pool_status import PoolReason
from masktrain_operator.shell.oci.access import OciErrorKind
from tests.api.pools.conftest import OpenWorld
from tests.api.pools.endings import assert_no_wrongs, is_empty
from tests.api.pools.faults import drop_from_list, terminate_dropped
from tests.api.pools.workload import RunningJob
from tests.api.pools.world import IDLE_SECONDS, PoolWorld

pytestmark = pytest.mark.api

A_WHILE = 4.0 * IDLE_SECONDS
QUARTER = 15 * 60.0
LOOKS = 70.0
"""Between two looks at a calm pool, and some."""
DELETE_NEVER_ENDS = 1e6


async def grown(world: PoolWorld, nodes: int = 2) -> RunningJob:
    world.create_pool()
    job = world.workload.submit("masks", nodes)
    await world.run_until(lambda: job.is_whole)
    return job


def stalled(world: PoolWorld) -> tuple[str, str]:
    found = world.condition("Stalled")
    return found["reason"], found["message"]


async def test_a_deletion_that_never_ends(open_world: OpenWorld) -> None:
    world = await open_world(delete_seconds=DELETE_NEVER_ENDS)
    await grown(world, 1)
    (instance,) = world.instances()
    world.workload.finish("masks")
    await world.run(QUARTER)
    assert stalled(world)[0] == PoolReason.UNSTALLED
    await world.run(A_WHILE + LOOKS)
    reason, message = stalled(world)
    assert reason == PoolReason.REMOVAL_STUCK
    assert str(instance.instance_id) in message
    assert world.event_reasons().count(PoolReason.REMOVAL_STUCK) == 1
    assert len(world.fake.log.of("delete_node")) == 2
    again = world.workload.submit("more-masks", 1)
    await world.run_until(lambda: again.is_whole)
    assert instance.name not in again.bound.values()


@pytest.mark.parametrize("kind", [OciErrorKind.DENIED, OciErrorKind.INVALID, OciErrorKind.BUSY, OciErrorKind.THROTTLED])
async def test_one_node_that_oracle_never_removes_keeps_no_other(open_world: OpenWorld, kind: OciErrorKind) -> None:
    world = await open_world()
    await grown(world)
    first, other = (str(node.instance_id) for node in world.instances())
    world.executioner.refused[first] = kind
    world.workload.finish("masks")
    await world.run(A_WHILE)
    assert [node.instance_id for node in world.instances()] == [first]
    assert [call.parameters["instance"] for call in world.fake.log.of("delete_node")] == [other]
    if kind in (OciErrorKind.DENIED, OciErrorKind.INVALID):
        assert stalled(world)[0] == PoolReason.REMOVAL_REFUSED
        assert first in stalled(world)[1]
    world.executioner.refused.clear()
    await world.run_until(lambda: is_empty(world))
    assert_no_wrongs(world)


async def test_an_instance_that_runs_and_is_in_no_list(open_world: OpenWorld) -> None:
    world = await open_world()
    await grown(world, 1)
    instance = str(world.instances()[0].instance_id)
    world.workload.finish("masks")
    drop_from_list(world)
    await world.run(QUARTER + A_WHILE + LOOKS)
    reason, message = stalled(world)
    assert reason in (PoolReason.INSTANCE_UNLISTED, PoolReason.REMOVAL_STUCK)
    assert instance in message
    assert [entry["instanceId"] for entry in world.status["nodes"]] == [instance]
    terminate_dropped(world)
    await world.run_until(lambda: is_empty(world))


async def test_a_conflict_that_does_not_pass(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    words = "The node pool image does not fit the Kubernetes version."
    world.fake.control.refuse(409, "IncorrectState", words, None, "update_node_pool")
    job = world.workload.submit("masks", 1)
    await world.run(QUARTER)
    reason, message = stalled(world)
    assert reason == PoolReason.CHANGES_REFUSED
    assert words.rstrip(".") in message
    assert world.event_reasons().count(PoolReason.CHANGES_REFUSED) == 1
    world.fake.control.clear_call_failures()
    await world.run_until(lambda: job.is_whole)
    await world.run(LOOKS)
    assert stalled(world)[0] == PoolReason.UNSTALLED


async def test_a_size_that_oracle_never_accepts_is_not_asked_for_all_the_time(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    world.fake.control.refuse(400, "InvalidParameter", "The shape is unavailable.", None, "update_node_pool")
    world.workload.submit("masks", 1)
    await world.run(QUARTER)
    assert len(world.fake.log.of("update_node_pool")) <= 6
    capacity = world.condition("CapacityAvailable")
    assert (capacity["status"], capacity["reason"]) == ("False", PoolReason.GROWTH_REFUSED)
    assert "The shape is unavailable" in capacity["message"]


async def test_a_missing_right_to_read_work_requests_is_said(open_world: OpenWorld) -> None:
    world = await open_world()
    world.fake.control.withhold_rights("list_work_requests")
    await grown(world, 1)
    world.workload.finish("masks")
    await world.run_until(lambda: "work requests" in world.condition("Reachable").get("message", ""))
    await world.run_until(lambda: is_empty(world))


async def test_a_gang_waits_for_another_node_than_the_one_that_was_asked_for(open_world: OpenWorld) -> None:
    """No answer came to it, and it is carried out long after the next gang has come."""
    world = await open_world()
    await grown(world, 1)
    (doomed,) = world.instances()
    world.executioner.delay_next("delete_node")
    world.workload.finish("masks")
    await world.run_until(lambda: world.executioner.has_delayed)
    job = world.workload.submit("more-masks", 1)
    await world.run(A_WHILE)
    await world.executioner.carry_out_delayed()
    await world.run_until(lambda: job.is_whole)
    assert doomed.name not in job.bound.values()
    assert_no_wrongs(world)
