"""Every failure, while the pool grows and while it shrinks, with and without an operator that is killed meanwhile.

When the failure is over, the pool has to be as if it had never been: the nodes that are wanted and no others, paid for
no longer than needed, and the books right.
"""

import pytest

from tests.api.pools.conftest import OpenWorld
from tests.api.pools.endings import assert_paid, is_empty
from tests.api.pools.faults import FAULTS, Fault
from tests.api.pools.kills import Kills
from tests.api.pools.workload import RunningJob
from tests.api.pools.world import PoolWorld

pytestmark = pytest.mark.api

FAULT_SECONDS = 120.0
NODES = 2

GROWING = {name: fault for name, fault in FAULTS.items() if fault.while_growing}
SHRINKING = {name: fault for name, fault in FAULTS.items() if fault.while_shrinking}
with_kills = pytest.mark.parametrize("kills", Kills)


@with_kills
@pytest.mark.parametrize("fault", GROWING.values(), ids=GROWING)
async def test_grows(open_world: OpenWorld, fault: Fault, kills: Kills) -> None:
    world = await open_world(kills, **fault.settings)
    world.create_pool()
    fault.begin(world)
    job = world.workload.submit("masks", NODES)
    await world.run(FAULT_SECONDS)
    fault.end(world)
    await world.run_until(lambda: is_grown(world, job))
    fault.strike(world)
    world.executioner.again()
    await world.run_until(lambda: is_grown(world, job))
    assert_in_order(world, fault)


@with_kills
@pytest.mark.parametrize("fault", SHRINKING.values(), ids=SHRINKING)
async def test_shrinks(open_world: OpenWorld, fault: Fault, kills: Kills) -> None:
    world = await open_world(kills, **fault.settings)
    world.create_pool()
    job = world.workload.submit("masks", NODES)
    await world.run_until(lambda: is_grown(world, job))
    fault.begin(world)
    await fail_to_grow(world, fault)
    world.workload.finish("masks")
    fault.strike(world)
    world.executioner.again()
    await world.run(FAULT_SECONDS)
    fault.end(world)
    await world.run_until(lambda: is_empty(world))
    assert_in_order(world, fault)
    assert_paid(world)


async def fail_to_grow(world: PoolWorld, fault: Fault) -> None:
    """A third node is wanted and cannot be had, so that there is something to clear away."""
    if fault.lacks_capacity:
        world.watchman.wanted = NODES + 1
        world.workload.submit("more-masks", 1)
        await world.run(20)
        world.workload.finish("more-masks")


def is_grown(world: PoolWorld, job: RunningJob) -> bool:
    if not job.is_whole or len(world.instances()) != NODES or world.cloud_pool.size != NODES:
        return False
    return world.status["addedNodes"] == NODES == len(world.status["nodes"]) and "scaleUp" not in world.status


def assert_in_order(world: PoolWorld, fault: Fault) -> None:
    assert not world.watchman.wrongs
    assert not world.fake.log.violations
    assert fault.lacks_capacity or len(world.fake.ledger.entries()) <= NODES + fault.replaced
