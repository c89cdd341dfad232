"""Every failure, while the pool grows and while it shrinks, with and without an operator that is killed meanwhile.

When the failure is over, the pool has to be as if it had never been: the nodes that are wanted and no others, paid for
no longer than needed, and the books right.
"""

import pytest

from masktrain_operator.core import prices
from tests.api.pools.conftest import OpenWorld
from tests.api.pools.faults import FAULTS, Fault
from tests.api.pools.kills import Kills
from tests.api.pools.workload import RunningJob
from tests.api.pools.world import PoolWorld

pytestmark = pytest.mark.api

FAULT_SECONDS = 150.0
NODES = 2

with_faults = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
with_kills = pytest.mark.parametrize("kills", Kills)


@with_kills
@with_faults
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
@with_faults
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


def is_empty(world: PoolWorld) -> bool:
    return world.cloud_pool.size == 0 and not world.cloud_pool.nodes and not world.status["nodes"]


def assert_in_order(world: PoolWorld, fault: Fault) -> None:
    assert not world.watchman.wrongs
    assert not world.fake.log.violations
    assert fault.lacks_capacity or len(world.fake.ledger.entries()) <= NODES + fault.replaced


def assert_paid(world: PoolWorld) -> None:
    """The status has what the cloud's own books have."""
    shape = world.cloud_pool.settings.shape
    price = prices.hourly_price(shape, preemptible=False)
    assert price is not None
    minimum = prices.minimum_billed_seconds(shape)
    assert all(entry.time_terminated is not None for entry in world.fake.ledger.entries())
    truth = world.fake.ledger.cost(float(price), minimum, world.now)
    assert float(world.status["cost"]["amount"]) == pytest.approx(truth, rel=0.01)
    assert world.status["addedNodes"] == 0
