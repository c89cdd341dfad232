"""Attacks on the time for which a pool's nodes are kept for a job that does not start: a year once, or for ever.

Whoever may edit MaskTrainingJobs and create batch Jobs or pods in a namespace of its own plays against the planner.
"""

from dataclasses import replace

from tests.unit.operator.core.status.test_cost import BOOTING
from tests.unit.operator.manifests import NOW
from tests.unit.operator.pool_world import READY, on_pool
from tests.unit.operator.shell.pools.test_pool_cache import Cluster
from tests.unit.operator.world import World

YEAR_SECONDS = 31_536_000
HOUR = 3600


def keeps_nodes_after(world: World, seconds: float) -> bool:
    world.run_operator()
    world.wait(seconds)
    world.run_operator()
    return not world.is_true("Failed")


def test_a_job_that_allows_itself_a_year_keeps_no_nodes_for_it() -> None:
    """Attack: an image that cannot be pulled, and startDeadlineSeconds of a year, which switched the hour off."""
    world = on_pool(limits={"startDeadlineSeconds": YEAR_SECONDS})
    world.run_operator()
    world.create_pods()
    assert not keeps_nodes_after(world, HOUR)
    assert not world.jobs, "its pods, and with them its nodes, go"


def test_nodes_that_boot_for_ever_are_not_kept_either() -> None:
    """Attack: the same while only a part of the gang's nodes has come."""
    assert not keeps_nodes_after(on_pool(BOOTING, limits={"startDeadlineSeconds": YEAR_SECONDS}), HOUR)


def test_a_batch_job_of_its_own_in_its_own_way_keeps_no_nodes() -> None:
    """Attack: create the Job `masks-0` before the operator does; blocked, the gang kept its nodes and no clock ran."""
    world = on_pool(replace(READY, reserved=(NOW,)), limits={"startDeadlineSeconds": YEAR_SECONDS})
    world.foreign_jobs = ("masks-0",)
    assert not keeps_nodes_after(world, HOUR)


async def test_the_administrators_time_counts_and_not_the_jobs() -> None:
    """From the pool as it is stored to what the planner goes by, before an attempt and during it."""
    cluster = Cluster()
    cluster.submit("waits")
    (job,) = cluster.known.training_jobs
    assert (await cluster.observer.observe(job)).start_timeout_seconds == HOUR, "a pool of an earlier version"

    cluster.put_pool({"startTimeoutSeconds": 600})
    assert (await cluster.observer.observe(job)).start_timeout_seconds == 600
    cluster.submit("waits", nodePool="gpu", attempt=0, attemptUid="uid-of-waits-0")
    cluster.start("waits")
    (job,) = cluster.known.training_jobs
    seen = await cluster.observer.observe(job)
    assert (seen.capacity, seen.start_timeout_seconds) == (None, 600)
