"""One month of one trace on one shape under one policy, and what came of it."""

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from devcluster.simulation.oke import CloudSettings

from .policies import POOL, Policy
from .shapes import Shape
from .traces import DAY, MONTH, TRACES, Team
from .weather import Weather, seeded

TO_THE_END = 3 * DAY
"""After the month, for its last jobs."""


@dataclass(frozen=True)
class Outcome:
    """GPU-seconds, and a delay in seconds for every job."""

    paid: float
    useful: float
    """In which trainers ran."""
    idle: float
    """On nodes that had joined and on which no pod asked for a GPU, and after their end until a minimum was over."""
    booting: float
    delays: tuple[float, ...]
    """Seconds between submission and end in which the job did not run."""
    busy_killed: int
    nodes: int
    unfinished: int

    @property
    def waste(self) -> float:
        return self.idle / self.useful

    @property
    def overhead(self) -> float:
        """With the time to boot, and GPUs that stood beside smaller pods."""
        return (self.paid - self.useful) / self.useful

    @property
    def mean_delay(self) -> float:
        return statistics.fmean(self.delays)

    @property
    def p95_delay(self) -> float:
        ordered = sorted(self.delays)
        return ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]


def together(outcomes: Iterable[Outcome]) -> Outcome:
    """Of several months."""
    found = list(outcomes)
    return Outcome(
        paid=sum(one.paid for one in found),
        useful=sum(one.useful for one in found),
        idle=sum(one.idle for one in found),
        booting=sum(one.booting for one in found),
        delays=tuple(delay for one in found for delay in one.delays),
        busy_killed=sum(one.busy_killed for one in found),
        nodes=sum(one.nodes for one in found),
        unfinished=sum(one.unfinished for one in found),
    )


def simulate(trace: str, shape: Shape, policy: Policy, seed: int) -> Outcome:
    weather: Weather | None = None

    def boot_seconds() -> float | None:
        assert weather is not None
        return weather.boot_seconds()

    world, scaler = policy.set_up(CloudSettings(shape=shape.name, gpus=shape.gpus, boot_seconds=boot_seconds))
    weather = Weather(seed, world.timeline)
    cloud = world.clouds[POOL]
    weather.come_over(cloud)
    team = Team(world.timeline, world.cluster, shape)
    TRACES[trace](team, seeded("trace", trace, seed))
    world.run(scaler, MONTH + TO_THE_END, skipping=True)
    usage = world.usage({POOL: shape.minimum_seconds})
    finished = world.cluster.finished
    return Outcome(
        paid=usage.paid * shape.gpus,
        useful=sum(team.work[job] * job.nodes * job.gpus_per_node for job in finished),
        idle=(usage.idle + usage.minimum) * shape.gpus,
        booting=usage.booting * shape.gpus,
        delays=tuple((job.ended or 0.0) - job.submitted - team.work[job] for job in finished),
        busy_killed=cloud.busy_victims + cloud.random_victims,
        nodes=len(cloud.past),
        unfinished=len(team.work) - len(finished),
    )
