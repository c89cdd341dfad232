"""A GPUNodePool's life: who gets its nodes, which of them stay, and how it ends."""

import pytest

from masktrain_operator.api.conditions import Reason
from tests.api.pools.conftest import OpenWorld
from tests.api.pools.endings import assert_no_wrongs, assert_paid, is_empty
from tests.api.pools.kills import Kills
from tests.api.pools.workload import RunningJob
from tests.api.pools.world import IDLE_SECONDS, PoolWorld

pytestmark = pytest.mark.api

A_WHILE = 10.0 * IDLE_SECONDS
MORE_THAN_THE_LIMIT = 16 * 60.0

with_kills = pytest.mark.parametrize("kills", Kills)


async def grown(world: PoolWorld, nodes: int = 2) -> RunningJob:
    job = world.workload.submit("masks", nodes)
    await world.run_until(lambda: job.is_whole)
    return job


@with_kills
async def test_two_jobs_never_hold_half_of_their_nodes_each(open_world: OpenWorld, kills: Kills) -> None:
    world = await open_world(kills)
    world.create_pool(maxNodes=2)
    one, other = (world.workload.submit(name, nodes=2) for name in ("one", "other"))
    for _ in range(2):
        await world.run_until(lambda: one.is_whole or other.is_whole)
        done, waiting = (one, other) if one.is_whole else (other, one)
        assert not waiting.bound
        world.workload.finish(done.name)
        done.bound = {}
    await world.run_until(lambda: is_empty(world))
    assert len(world.fake.ledger.entries()) == 2
    assert_no_wrongs(world)
    assert_paid(world)


@with_kills
async def test_node_added_by_hand_is_used_and_stays(open_world: OpenWorld, kills: Kills) -> None:
    world = await open_world(kills, size=1)
    await world.run(60)
    (by_hand,) = world.instances()
    world.watchman.by_hand = frozenset({str(by_hand.instance_id)})
    world.create_pool()
    await grown(world)
    assert len(world.fake.ledger.entries()) == 2
    world.workload.finish("masks")
    await world.run(A_WHILE)
    assert world.instances() == [by_hand]
    assert world.status["addedNodes"] == 0
    assert_no_wrongs(world)


@with_kills
async def test_a_shape_that_no_image_runs_on_is_never_paid_for(open_world: OpenWorld, kills: Kills) -> None:
    """Neither for a job nor for `minNodes`."""
    world = await open_world(kills, shape="BM.GPU2.2")
    world.create_pool(minNodes=1)
    job = world.workload.submit("masks", nodes=2)
    await world.run_until(lambda: world.condition("ShapeSupported").get("reason") == "ShapeNotSupported")
    await world.run(A_WHILE)
    assert world.fake.log.of("update_node_pool") == []
    assert world.fake.ledger.entries() == []
    assert world.condition("ShapeSupported")["status"] == "False"
    assert world.condition("Stalled")["status"] == "True"
    assert world.event_reasons().count("ShapeNotSupported") >= 1
    refusal = world.pool_cache.admissions().refusals[job.body["metadata"]["uid"]]
    assert refusal.reason is Reason.SHAPE_NOT_SUPPORTED
    assert "Shape BM.GPU2.2 has P100 GPUs of compute capability 6.0" in refusal.message


async def test_a_job_with_an_own_image_gets_nodes_of_such_a_shape(open_world: OpenWorld) -> None:
    world = await open_world(shape="BM.GPU2.2")
    world.create_pool(skipShapeCheck=True)
    job = world.workload.submit("masks", nodes=1, pool=world.name)
    await world.run_until(lambda: job.is_whole)
    assert world.condition("ShapeSupported")["status"] == "Unknown"


async def test_pod_of_others_keeps_its_node(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    await grown(world)
    kept, _ = world.node_names()
    world.workload.run_foreign("notebook", kept)
    world.workload.finish("masks")
    await world.run(A_WHILE)
    assert world.node_names() == [kept]
    world.workload.end_foreign("notebook")
    await world.run_until(lambda: is_empty(world))
    assert_no_wrongs(world)
    assert_paid(world)


async def test_pod_that_comes_at_the_last_moment_keeps_its_node(open_world: OpenWorld) -> None:
    """Bound by a scheduler that had not seen the cordon, after the plan to remove the node was made."""
    world = await open_world()
    world.create_pool()
    await grown(world, nodes=1)
    (name,) = world.node_names()
    world.client.before_last_look = lambda: world.workload.run_foreign("notebook", name)
    world.workload.finish("masks")
    await world.run(A_WHILE)
    assert world.node_names() == [name]
    assert not world.fake.log.of("delete_node")
    assert not world.node(name)["spec"].get("unschedulable")
    world.workload.end_foreign("notebook")
    await world.run_until(lambda: is_empty(world))
    assert_no_wrongs(world)


async def test_node_that_a_person_keeps_stays(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    await grown(world)
    kept, _ = world.node_names()
    world.annotate_node(kept, keep="true")
    world.workload.finish("masks")
    await world.run(A_WHILE)
    assert world.node_names() == [kept]
    world.annotate_node(kept, keep=None)
    await world.run_until(lambda: is_empty(world))
    assert_paid(world)


async def test_next_job_takes_a_node_that_was_about_to_go(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    await grown(world)
    names = world.node_names()
    world.workload.finish("masks")
    await world.run_until(lambda: any(world.node(name)["spec"].get("unschedulable") for name in names))
    again = world.workload.submit("more-masks", nodes=2)
    await world.run_until(lambda: again.is_whole)
    assert set(again.bound.values()) == set(names)
    assert not world.fake.log.of("delete_node")


async def test_cost_of_a_node_that_never_joined(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    world.fake.control.never_join()
    await grown(world, nodes=1)
    world.workload.finish("masks")
    await world.run_until(lambda: is_empty(world))
    assert len(world.fake.ledger.entries()) == 2
    assert_no_wrongs(world)
    assert_paid(world)


@with_kills
async def test_deleted_pool_takes_its_idle_nodes_down(open_world: OpenWorld, kills: Kills) -> None:
    world = await open_world(kills)
    world.create_pool()
    await grown(world)
    world.workload.finish("masks")
    world.delete_pool()
    await world.run_until(lambda: not world.pool_exists())
    assert not world.instances()
    assert world.cloud_pool.size == 0
    assert_no_wrongs(world)


@with_kills
async def test_deleted_pool_waits_for_nodes_that_are_coming(open_world: OpenWorld, kills: Kills) -> None:
    world = await open_world(kills)
    world.create_pool()
    world.workload.submit("masks", nodes=2)
    await world.run_until(lambda: world.cloud_pool.size == 2)
    world.delete_pool()
    world.workload.finish("masks")
    await world.run_until(lambda: not world.pool_exists())
    await world.run(60)
    assert not world.instances()
    assert world.cloud_pool.size == 0
    assert_no_wrongs(world)


async def test_deleted_pool_waits_for_nodes_of_which_no_answer_came(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    world.workload.submit("masks", nodes=2)
    world.fake.control.lose_answers(3, "update_node_pool")
    await world.run_until(lambda: world.cloud_pool.size == 2)
    world.fake.control.break_service(None)
    world.delete_pool()
    world.workload.finish("masks")
    await world.run(30)
    world.fake.control.clear_call_failures()
    await world.run_until(lambda: not world.pool_exists())
    await world.run(60)
    assert not world.instances()
    assert world.cloud_pool.size == 0


async def test_deleted_pool_leaves_what_was_added_by_hand(open_world: OpenWorld) -> None:
    world = await open_world(size=1)
    await world.run(60)
    (by_hand,) = world.instances()
    world.create_pool()
    await grown(world)
    world.workload.finish("masks")
    world.delete_pool()
    await world.run_until(lambda: not world.pool_exists())
    assert world.instances() == [by_hand]


async def test_deleted_pool_goes_without_its_nodes_after_a_while(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    await grown(world, nodes=1)
    world.delete_pool()
    await world.run(120)
    assert world.pool_exists()
    world.catch_up_with_the_api_server(MORE_THAN_THE_LIMIT)
    await world.run_until(lambda: not world.pool_exists(), seconds=120)
    assert len(world.instances()) == 1


async def test_deleted_pool_goes_at_once_if_a_person_says_so(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    await grown(world, nodes=1)
    world.annotate_pool(abandon_nodes="true")
    world.delete_pool()
    await world.run_until(lambda: not world.pool_exists(), seconds=60)
    assert len(world.instances()) == 1


async def test_growth_that_is_carried_out_long_after_it_was_given_up(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    world.executioner.delay_next("resize")
    await grown(world)
    await world.executioner.carry_out_delayed()
    await world.run(60)
    assert len(world.instances()) == 2
    world.workload.finish("masks")
    await world.run_until(lambda: is_empty(world))
    assert len(world.fake.ledger.entries()) == 2
    assert_no_wrongs(world)
    assert_paid(world)


async def test_growth_that_is_carried_out_after_everybody_has_left(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    world.executioner.delay_next("resize")
    world.workload.submit("masks", nodes=2)
    await world.run_until(lambda: world.executioner.has_delayed)
    world.workload.finish("masks")
    await world.run(45)
    await world.executioner.carry_out_delayed()
    await world.run_until(lambda: world.cloud_pool.size == 2)
    await world.run_until(lambda: is_empty(world))
    assert_no_wrongs(world)
    assert_paid(world)


async def test_removal_that_is_carried_out_after_another_job_came(open_world: OpenWorld) -> None:
    """No answer came to it: the node may go at any moment, so that nobody may be put there."""
    world = await open_world()
    world.create_pool()
    await grown(world)
    world.workload.finish("masks")
    world.watchman.wanted = 3
    world.executioner.delay_next("delete_node")
    await world.run_until(lambda: world.executioner.has_delayed)
    job = world.workload.submit("more-masks", nodes=2)
    await world.run(20)
    await world.executioner.carry_out_delayed()
    await world.run_until(lambda: job.is_whole)
    assert_no_wrongs(world)
    world.workload.finish("more-masks")
    await world.run_until(lambda: is_empty(world))
    assert_paid(world)


async def test_what_the_api_server_refuses_is_said_and_stops_nothing_else(open_world: OpenWorld) -> None:
    """A policy keeps the operator from its Nodes: the pool grows all the same, and shrinks afterwards."""
    world = await open_world()
    world.watchman.wanted = 3
    world.create_pool()
    await grown(world)
    world.refuse_changes_of_nodes()
    world.workload.finish("masks")
    await world.run(A_WHILE)
    assert len(world.instances()) == 2
    refused = world.condition("WriteRefused")
    assert refused["status"] == "True"
    assert "hands off" in refused["message"]
    for name, nodes in (("more", 2), ("one-more", 1)):
        world.workload.submit(name, nodes)
    await world.run_until(lambda: len(world.instances()) == 3 == len(world.status["nodes"]))
    assert world.event_reasons().count("WriteRefused") < 5
    for name in ("more", "one-more"):
        world.workload.finish(name)
    world.accept_changes_of_nodes()
    await world.run_until(lambda: is_empty(world))
    await world.run(60)
    assert world.condition("WriteRefused")["status"] == "False"
    assert_no_wrongs(world)


async def test_a_pool_without_its_finalizer_does_not_grow(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    world.refuse_changes_of_pools()
    world.workload.submit("masks", 1)
    await world.run(A_WHILE)
    assert not world.fake.ledger.entries()
    assert "finalizer" in world.condition("WriteRefused")["message"]
    world.accept_changes_of_pools()
    await world.run_until(lambda: world.workload.jobs["masks"].is_whole)
