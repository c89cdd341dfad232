"""What Oracle does to a month: boot times, nodes that die or never come, hours without capacity.

Everything is drawn for points in time, not for whoever asks first, so that all policies meet the same fate.
"""

from collections import Counter
from random import Random

from devcluster.simulation.oke import OUT_OF_CAPACITY, CloudPool
from devcluster.simulation.timeline import Timeline

from .shapes import MAX_NODES
from .traces import DAY, HOUR, MINUTE, MONTH

SHORTEST_BOOT, LONGEST_BOOT = 3 * MINUTE, 15 * MINUTE
NEVER_JOINS = 0.01
LIFE_OF_A_NODE = 30 * DAY
"""Mean time until one dies under somebody's job."""
SPELLS = 12
"""Times in the month that Oracle is out of capacity, for 10 to 60 minutes."""
SLOT = 30 * MINUTE


def seeded(*parts: object) -> Random:
    return Random(repr(parts))  # noqa: S311 - draws for a simulation


class Weather:
    def __init__(self, seed: int, timeline: Timeline) -> None:
        self._seed, self._timeline = seed, timeline
        self._booted: Counter[int] = Counter()

    def boot_seconds(self) -> float | None:
        """Of the next machine: the first in this half hour boots as fast under every policy, and so on."""
        slot = int(self._timeline.seconds // SLOT)
        self._booted[slot] += 1
        random = seeded("boot", self._seed, slot, self._booted[slot])
        return None if random.random() < NEVER_JOINS else random.uniform(SHORTEST_BOOT, LONGEST_BOOT)

    def come_over(self, cloud: CloudPool) -> None:
        """Plan the whole month's."""
        random = seeded("weather", self._seed)
        for _ in range(SPELLS):
            self._spell(cloud, random.uniform(0, MONTH), random.uniform(10 * MINUTE, HOUR))
        for place in range(MAX_NODES):
            moment = 0.0
            while (moment := moment + random.expovariate(1 / LIFE_OF_A_NODE)) < MONTH:
                self._strike(cloud, moment, place)

    def _spell(self, cloud: CloudPool, start: float, seconds: float) -> None:
        self._timeline.at(start, lambda: setattr(cloud, "shortage", OUT_OF_CAPACITY))
        self._timeline.at(start + seconds, lambda: setattr(cloud, "shortage", None))

    def _strike(self, cloud: CloudPool, moment: float, place: int) -> None:
        """Lightning strikes a place in the pool, whether or not a node stands there."""

        def strike() -> None:
            standing = [machine for machine in cloud.machines if machine.state == "ACTIVE" and machine.has_power]
            if place < len(standing):
                cloud.cut_power(standing[place])

        self._timeline.at(moment, strike)
