"""How many nodes a pool wants: more for more jobs, never more than its maximum, and no to and fro."""

from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from devcluster.simulation.oke import CloudSettings
from devcluster.simulation.pool_operator import PoolOperator, with_admissions
from devcluster.simulation.workload import TrainingJob
from devcluster.simulation.world import OperatedWorld, one_pool
from masktrain_operator.core.pools.admission import admit
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.scale_up import missing_nodes
from masktrain_operator.core.pools.snapshot import slots_of
from masktrain_operator.core.pools.types import PoolContext

GPUS = 4
GANGS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, GPUS), st.integers(0, 2)), max_size=6)
"""Nodes, GPUs per node, priority."""
WHOLE_NODES = st.lists(st.tuples(st.integers(1, 6), st.just(GPUS), st.integers(0, 2)), min_size=1, max_size=6)
Asked = tuple[int, int, int]
quick = settings(max_examples=40, deadline=None, derandomize=True)


class Standing:
    """A pool, some nodes of which run the gangs that came first."""

    def __init__(self, running: list[Asked], max_nodes: int, min_nodes: int = 0) -> None:
        cloud = CloudSettings(shape="VM.GPU3.4", gpus=GPUS)
        self.world = one_pool(cloud=cloud, maxNodes=max_nodes, minNodes=min_nodes)
        for nodes, gpus, _ in running:
            self.world.submit(nodes=nodes, gpus_per_node=gpus, seconds=1e6)
        self.world.wait(600, skipping=True)
        self.now = self.world.timeline.now

    def asked(self, gangs: list[Asked]) -> PoolContext:
        """The same moment with these gangs waiting, the last one the youngest."""
        jobs = [*self.world.cluster.jobs.values(), *(self._job(*asked) for asked in enumerate(gangs))]
        found = tuple(job.gang() for job in jobs)
        bare = self.world.operator._context("gpu")
        pool = slots_of(bare, {gang.job_uid: gang for gang in found})
        return with_admissions(bare, admit(found, [pool]))

    def wanted(self, gangs: list[Asked]) -> int:
        context = self.asked(gangs)
        return context.observed.oke.size + missing_nodes(context, context.status)

    def admitted(self, gangs: list[Asked]) -> int:
        """Nodes for gangs, running or admitted."""
        return len({slot for placed in self.asked(gangs).observed.placements for slot in placed.slots})

    def _job(self, number: int, asked: Asked) -> TrainingJob:
        nodes, gpus, priority = asked
        job = TrainingJob(f"waits-{number}", nodes=nodes, gpus_per_node=gpus, priority=priority)
        job.created = self.now
        return job


@quick
@given(
    running=GANGS, waiting=GANGS, another=st.tuples(st.integers(1, 5), st.integers(1, GPUS)), maximum=st.integers(1, 8)
)
def test_one_more_job_at_the_end_of_the_queue_never_lessens_demand(
    running: list[Asked], waiting: list[Asked], another: tuple[int, int], maximum: int
) -> None:
    pool = Standing(running, maximum)
    more = [*waiting, (*another, 0)] if all(priority == 0 for *_, priority in waiting) else [*waiting, (*another, -1)]
    assert pool.wanted(more) >= pool.wanted(waiting)
    assert pool.admitted(more) >= pool.admitted(waiting)


@quick
@given(gangs=WHOLE_NODES, which=st.integers(0, 5), nodes=st.integers(1, 6))
def test_a_larger_job_never_lessens_demand(gangs: list[Asked], which: int, nodes: int) -> None:
    """Where the pool may have all that is asked for: one too large to start keeps younger ones waiting, on purpose."""
    pool = Standing([], 200)
    which %= len(gangs)
    larger = [(asked[0] + nodes * (number == which), *asked[1:]) for number, asked in enumerate(gangs)]
    assert pool.wanted(larger) == pool.wanted(gangs) + nodes


@quick
@given(running=GANGS, waiting=GANGS, maximum=st.integers(1, 8), minimum=st.integers(0, 3))
def test_the_size_stays_within_its_bounds(
    running: list[Asked], waiting: list[Asked], maximum: int, minimum: int
) -> None:
    minimum = min(minimum, maximum)
    pool = Standing(running, maximum, minimum)
    assert minimum <= pool.world.clouds["gpu"].size <= maximum
    assert minimum <= pool.wanted(waiting) <= maximum
    plan = plan_pool(pool.asked(waiting))
    assert plan.resize is None or plan.resize.size <= maximum
    assert pool.world.clouds["gpu"].size - len(plan.removals) >= minimum


class Erratic(PoolOperator):
    """An operator whose looks come early or late, and in between for no reason."""

    def __init__(self, *args: Any, random: Random) -> None:
        super().__init__(*args)
        self._random = random

    def look(self) -> None:
        super().look()
        wait = self.next_look - self._timeline.seconds
        self.next_look = self._timeline.seconds + wait * self._random.choice((0.3, 1.0, 1.0, 3.0))


def erratic_world(random: Random, **spec: Any) -> OperatedWorld:
    cloud = CloudSettings(boot_seconds=lambda: random.uniform(180, 900))
    world = one_pool(cloud=cloud, **spec)
    world.operator = Erratic(world.timeline, world.cluster, world.clouds, world.operator.pools, random=random)
    return world


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    seed=st.integers(0, 10**6),
    nodes=st.integers(1, 4),
    seconds=st.sampled_from([30.0, 700.0]),
    idle=st.sampled_from([0, 30, 120, 900]),
)
def test_one_job_is_one_growth_and_one_shrinking(seed: int, nodes: int, seconds: float, idle: int) -> None:
    world = erratic_world(Random(seed), maxNodes=4, idleSeconds=idle)
    job = world.submit(nodes=nodes, gpus_per_node=2, seconds=seconds)
    world.wait(seconds + 5400)
    assert job.ended is not None
    assert [(resized.before, resized.after) for resized in world.resizes] == [(0, nodes)]
    assert sorted(removed.time >= job.ended + idle for removed in world.removals) == [True] * nodes
    assert len({removed.instance_id for removed in world.removals}) == nodes
    assert world.clouds["gpu"].size == 0


@settings(max_examples=10, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), gap=st.integers(1, 20))
def test_while_jobs_follow_each_other_within_the_idle_time_the_pool_stands_still(seed: int, gap: int) -> None:
    random = Random(seed)
    world = erratic_world(random, maxNodes=4, idleSeconds=60)
    seconds = iter([random.uniform(30, 300) for _ in range(5)])

    def follow() -> None:
        work = next(seconds, None)
        if work is not None:
            job = TrainingJob(f"after-{work}", nodes=2, gpus_per_node=2, seconds=work)
            world.timeline.after(gap, lambda: world.cluster.submit(job, on_end=follow))

    follow()
    world.wait(4000)
    assert len(world.cluster.finished) == 5
    assert [(resized.before, resized.after) for resized in world.resizes] == [(0, 2)]
    assert len(world.removals) == 2


@settings(max_examples=12, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), seconds=st.integers(0, 1800))
def test_looking_again_at_once_grows_once_at_most(seed: int, seconds: int) -> None:
    random = Random(seed)
    world = one_pool(cloud=CloudSettings(boot_seconds=lambda: random.uniform(180, 900)))
    for _ in range(random.randint(1, 3)):
        world.submit(nodes=random.randint(1, 3), gpus_per_node=2, seconds=random.uniform(60, 900))
    world.wait(seconds)
    before = len(world.resizes)
    for _ in range(4):
        world.operator.look()
    assert len(world.resizes) - before <= 1
