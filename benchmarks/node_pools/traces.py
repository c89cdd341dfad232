"""Who submits what, and when: four weeks of jobs, the same for every policy."""

import itertools
from collections.abc import Callable, Iterator
from random import Random

from devcluster.simulation.cluster import Cluster
from devcluster.simulation.timeline import Timeline
from devcluster.simulation.workload import TrainingJob

from .shapes import Shape

MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
MONTH = 28 * DAY


class Team:
    """Submits jobs, and remembers how much work each of them was."""

    def __init__(self, timeline: Timeline, cluster: Cluster, shape: Shape) -> None:
        self.shape = shape
        self.work: dict[TrainingJob, float] = {}
        """Seconds of each job on all its nodes."""
        self._timeline, self._cluster = timeline, cluster
        self._numbers = itertools.count(1)

    def submit(
        self,
        time: float,
        seconds: float,
        nodes: int = 1,
        gpus_per_node: int | None = None,
        then: Callable[[], None] = lambda: None,
    ) -> None:
        """A job for whole nodes unless said otherwise; `then` happens at its end."""
        name = f"job-{next(self._numbers):04}"
        job = TrainingJob(name, nodes=nodes, gpus_per_node=gpus_per_node or self.shape.gpus, seconds=seconds)
        self.work[job] = seconds
        self._timeline.at(time, lambda: self._cluster.submit(job, on_end=then))

    @property
    def now(self) -> float:
        return self._timeline.seconds


Trace = Callable[[Team, Random], None]


def nightly(team: Team, random: Random) -> None:
    """A long and a short job every night, and the evaluation of the long one some time after both have begun."""
    for day in range(28):
        night = day * DAY + HOUR
        team.submit(night + random.uniform(0, 10 * MINUTE), random.uniform(1.5 * HOUR, 3 * HOUR), nodes=2)
        team.submit(night + random.uniform(0, 10 * MINUTE), random.uniform(30 * MINUTE, 90 * MINUTE))
        team.submit(night + 4 * HOUR, random.uniform(15 * MINUTE, 40 * MINUTE))


def office_hours(team: Team, random: Random) -> None:
    """People who try things out, Mondays to Fridays from nine to six: a few short jobs, then a look at the results."""
    for day in (day for day in range(28) if day % 7 < 5):
        moment = day * DAY + 9 * HOUR
        while (moment := moment + random.expovariate(1 / (2 * HOUR))) < day * DAY + 18 * HOUR:
            for _ in range(random.randint(1, 3)):
                team.submit(moment + random.uniform(0, 3 * MINUTE), random.uniform(5 * MINUTE, 35 * MINUTE))


def sweep(team: Team, random: Random) -> None:
    """A search a week for hyperparameters: 48 trials on half a node each, eight at a time.

    Whenever a trial ends, the search thinks for a moment and submits the next one.
    """
    for week in range(4):
        trials = [(random.uniform(10, 90), random.lognormvariate(0, 0.5) * 20 * MINUTE) for _ in range(48)]
        start = (7 * week + 2) * DAY + 17 * HOUR
        _search(team, start, iter(trials))


def _search(team: Team, start: float, trials: Iterator[tuple[float, float]]) -> None:
    def next_trial() -> None:
        thinking, seconds = next(trials, (None, None))
        if thinking is not None and seconds is not None:
            at = max(start, team.now) + thinking
            team.submit(at, seconds, gpus_per_node=team.shape.gpus // 2, then=next_trial)

    for _ in range(8):
        next_trial()


def one_long_job(team: Team, random: Random) -> None:
    """Two nodes for a fortnight."""
    team.submit(random.uniform(1, 2) * DAY, 14 * DAY, nodes=2)


TRACES: dict[str, Trace] = {
    "nightly": nightly,
    "office hours": office_hours,
    "sweep": sweep,
    "one long job": one_long_job,
}
