"""A GPUNodePool's ordinary life, and the wishes of people that it heeds."""

import pytest

from tests.api.pools.conftest import OpenWorld

pytestmark = pytest.mark.api


async def test_grows_for_a_gang_and_is_empty_after_it(open_world: OpenWorld) -> None:
    world = await open_world()
    world.create_pool()
    job = world.workload.submit("masks", nodes=2)
    await world.run_until(lambda: job.is_whole)
    assert len(world.instances()) == 2
    world.workload.finish("masks")
    await world.run_until(lambda: not world.cloud_pool.nodes)
    assert not world.watchman.wrongs
    assert not world.fake.log.violations
