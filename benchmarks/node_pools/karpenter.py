"""Karpenter with consolidationPolicy WhenEmpty.

Rules: https://karpenter.sh/docs/concepts/disruption and https://karpenter.sh/docs/concepts/nodepools ; it makes its
instances itself, which here are machines of the pool.
"""

import math
from collections.abc import Iterator
from typing import Any

from devcluster.simulation.oke import Machine

from .autoscaler import Autoscaler

BATCH_IDLE_SECONDS = 1.0
"""So long it waits for further pods before it makes nodes."""
REGISTRATION_TTL = 900.0
NO_CAPACITY_SECONDS = 180.0
"""So long an offering without capacity is not tried again."""


class Karpenter(Autoscaler):
    """`consolidate_after`: seconds since the last pod came to a node or left it."""

    interval = BATCH_IDLE_SECONDS
    provision_seconds = REGISTRATION_TTL
    _unavailable_until = -math.inf

    def __init__(self, *world: Any, consolidate_after: float) -> None:
        super().__init__(*world)
        self._consolidate_after = consolidate_after

    def may_grow(self) -> bool:
        return self._unavailable_until <= self._now

    def grown(self) -> None:
        pass

    def failed_to_grow(self) -> None:
        self._unavailable_until = self._now + NO_CAPACITY_SECONDS

    def shrink(self, needed: frozenset[str]) -> None:
        for machine in self._joined():
            if self.is_empty(machine, needed) and self._removal_time(machine) <= self._now:
                self.remove(machine)

    def deadlines(self) -> Iterator[float]:
        yield self._unavailable_until
        for machine in self._joined():
            if not self._cluster.is_busy(machine):
                yield self._removal_time(machine)

    def _removal_time(self, machine: Machine) -> float:
        return max(machine.joined or 0.0, machine.last_busy) + self._consolidate_after
