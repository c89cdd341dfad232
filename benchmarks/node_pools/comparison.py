"""Whether the goals are met on one trace and one shape."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

from .month import Outcome
from .policies import CLUSTER_AUTOSCALER, DEFAULT_IDLE_SECONDS, OURS

AT_DEFAULT_GOAL = 0.5
AT_SAME_DELAY_GOAL = 1.0
Point = tuple[float, float]
"""Mean delay and waste."""


@dataclass(frozen=True)
class Comparison:
    """`outcomes`: by the policy's name, over all seeds."""

    outcomes: Mapping[str, Outcome]

    @property
    def ours(self) -> Outcome:
        return self.outcomes[OURS[DEFAULT_IDLE_SECONDS].name]

    @property
    def theirs(self) -> Outcome:
        return self.outcomes[CLUSTER_AUTOSCALER.name]

    @property
    def curve(self) -> list[Point]:
        """By idle time."""
        return [(one.mean_delay, one.waste) for one in (self.outcomes[policy.name] for policy in OURS.values())]

    @property
    def at_default(self) -> float:
        """Our waste with the default idle time, as a part of the cluster-autoscaler's."""
        return self.ours.waste / self.theirs.waste

    @property
    def at_same_delay(self) -> float | None:
        """The same where our jobs wait no longer than its jobs; None if there is no such idle time."""
        least = least_waste(self.curve, self.theirs.mean_delay)
        return None if least is None else least / self.theirs.waste

    @property
    def busy_killed(self) -> int:
        return sum(self.outcomes[policy.name].busy_killed for policy in OURS.values())

    def verdicts(self) -> Iterator[tuple[str, bool]]:
        """One sentence for each goal."""
        yield self._default_sentence(), self.at_default <= AT_DEFAULT_GOAL
        same = self.at_same_delay
        yield self._same_delay_sentence(same), same is not None and same <= AT_SAME_DELAY_GOAL
        yield f"{self.busy_killed} busy nodes killed (goal 0)", self.busy_killed == 0

    def _default_sentence(self) -> str:
        delays = f"mean delay {self.ours.mean_delay:.0f} s beside {self.theirs.mean_delay:.0f} s"
        return (
            f"at idleSeconds={DEFAULT_IDLE_SECONDS} {self.at_default:.2f} x the cluster-autoscaler's waste "
            f"(goal <= {AT_DEFAULT_GOAL}), {delays}"
        )

    def _same_delay_sentence(self, ratio: float | None) -> str:
        delay = f"{self.theirs.mean_delay:.0f} s"
        if ratio is None:
            return f"with no idle time do jobs wait as little as its {delay}"
        return f"where jobs wait no longer than its {delay}: {ratio:.2f} x its waste (goal <= {AT_SAME_DELAY_GOAL:.0f})"


def least_waste(curve: Iterable[Point], delay: float) -> float | None:
    """The lowest point of the curve, straight between its points, that is no further right than `delay`."""
    points = list(curve)
    reached = [waste for point, waste in points if point <= delay]
    for (left, waste), (right, other) in pairwise(points):
        if (left - delay) * (right - delay) < 0:
            reached.append(waste + (other - waste) * (delay - left) / (right - left))
    return min(reached, default=None)
