"""The rules of other autoscalers, as the node pool benchmark plays them."""

import pytest

from benchmarks.node_pools.comparison import least_waste
from benchmarks.node_pools.policies import CLUSTER_AUTOSCALER, KARPENTER, POOL, Policy
from devcluster.simulation.cluster import Cluster
from devcluster.simulation.oke import OUT_OF_CAPACITY, CloudPool, CloudSettings
from devcluster.simulation.workload import TrainingJob
from devcluster.simulation.world import Scaler, World

BOOT = 240.0
REQUEST = 17.0
"""From a resize until the machines are there, as the simulated Oracle does it."""


class Played:
    def __init__(self, policy: Policy) -> None:
        self.world: World
        self.scaler: Scaler
        self.world, self.scaler = policy.set_up(CloudSettings(boot_seconds=lambda: BOOT))
        self.cloud: CloudPool = self.world.clouds[POOL]
        self.cluster: Cluster = self.world.cluster

    def submit(self, at: float, seconds: float, nodes: int = 1) -> TrainingJob:
        job = TrainingJob(f"job-at-{at:.0f}", nodes=nodes, gpus_per_node=2, seconds=seconds)
        self.world.timeline.at(at, lambda: self.cluster.submit(job))
        return job

    def run_to(self, seconds: float) -> None:
        self.world.run(self.scaler, seconds - self.world.timeline.seconds, skipping=True)

    def asked_to_end(self) -> list[float]:
        """When each machine's termination was asked for."""
        ended = [machine.ended for machine in self.cloud.past.values() if machine.ended is not None]
        return sorted(moment - self.cloud.settings.terminate_seconds for moment in ended)


IDLE_TIMES = [(CLUSTER_AUTOSCALER, 600, 10), (KARPENTER[0], 0, 1), (KARPENTER[60], 60, 1), (KARPENTER[300], 300, 1)]


@pytest.mark.parametrize(("policy", "idle", "interval"), IDLE_TIMES, ids=lambda value: getattr(value, "name", None))
def test_a_node_goes_when_it_was_empty_for_long_enough(policy: Policy, idle: float, interval: float) -> None:
    played = Played(policy)
    job = played.submit(at=5, seconds=3600, nodes=2)
    played.run_to(4 * 3600)
    assert job.first_started is not None
    assert job.first_started == pytest.approx(5 + REQUEST + BOOT, abs=interval + 3)
    assert job.ended is not None
    first, second = played.asked_to_end()
    assert first == second
    assert idle <= first - job.ended <= idle + 2 * interval
    assert (played.cloud.busy_victims, played.cloud.random_victims, len(played.cloud.past)) == (0, 0, 2)


def test_a_job_within_the_idle_time_finds_the_node() -> None:
    played = Played(CLUSTER_AUTOSCALER)
    first = played.submit(at=0, seconds=600)
    second = played.submit(at=1000, seconds=600)
    played.run_to(4 * 3600)
    assert first.ended is not None
    assert second.delay == pytest.approx(1, abs=1)
    assert len(played.cloud.past) == 1


@pytest.mark.parametrize(
    ("policy", "patience"), [(CLUSTER_AUTOSCALER, 300), (KARPENTER[0], 180)], ids=["ca", "karpenter"]
)
def test_after_missing_capacity_they_wait_before_they_ask_again(policy: Policy, patience: float) -> None:
    played = Played(policy)
    played.cloud.shortage = OUT_OF_CAPACITY
    job = played.submit(at=0, seconds=600)
    played.world.timeline.at(100, lambda: setattr(played.cloud, "shortage", None))
    played.run_to(3600)
    assert job.first_started is not None
    assert job.first_started == pytest.approx(REQUEST + patience + REQUEST + BOOT, abs=25)


@pytest.mark.parametrize("policy", [CLUSTER_AUTOSCALER, KARPENTER[0]], ids=["ca", "karpenter"])
def test_a_node_that_never_joins_is_replaced_after_fifteen_minutes(policy: Policy) -> None:
    played = Played(policy)
    played.cloud.next_boots = [None]
    job = played.submit(at=0, seconds=600)
    played.run_to(3 * 3600)
    assert job.first_started is not None
    assert 900 + BOOT <= job.first_started <= 900 + 300 + 60 + BOOT
    assert played.cloud.size == 0


CURVE = [(600.0, 0.1), (500.0, 0.2), (400.0, 0.6)]


@pytest.mark.parametrize(("delay", "waste"), [(700, 0.1), (600, 0.1), (550, 0.15), (450, 0.4), (400, 0.6), (399, None)])
def test_the_least_waste_at_a_delay_is_read_off_the_curve(delay: float, waste: float | None) -> None:
    assert least_waste(CURVE, delay) == (None if waste is None else pytest.approx(waste))
