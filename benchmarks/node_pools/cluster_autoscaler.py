"""The cluster-autoscaler with its defaults.

Rules and values: https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md
"""

import math
from collections.abc import Iterator

from devcluster.simulation.oke import Machine

from .autoscaler import Autoscaler

SCAN_INTERVAL = 10.0
UNNEEDED_TIME = 600.0
UNREADY_TIME = 1200.0
DELAY_AFTER_ADD = 600.0
MAX_NODE_PROVISION_TIME = 900.0
FIRST_BACKOFF, LONGEST_BACKOFF, BACKOFF_RESET = 300.0, 1800.0, 10_800.0


class ClusterAutoscaler(Autoscaler):
    """Pods count as not safe to evict, as its users mark training: only empty nodes are removed."""

    interval = SCAN_INTERVAL
    provision_seconds = MAX_NODE_PROVISION_TIME
    _last_growth = _last_failure = _backoff_until = -math.inf
    _backoff = 0.0
    _unneeded_since: dict[str, float]

    def may_grow(self) -> bool:
        return self._backoff_until <= self._now

    def grown(self) -> None:
        self._last_growth = self._now

    def failed_to_grow(self) -> None:
        if self._now - self._last_failure > BACKOFF_RESET:
            self._backoff = 0.0
        self._backoff = min(LONGEST_BACKOFF, 2 * self._backoff or FIRST_BACKOFF)
        self._last_failure, self._backoff_until = self._now, self._now + self._backoff

    def shrink(self, needed: frozenset[str]) -> None:
        """Being unneeded is timed always, nodes go only a while after the last growth of any pool."""
        known = getattr(self, "_unneeded_since", {})
        empty = [machine for machine in self._joined() if self.is_empty(machine, needed)]
        self._unneeded_since = {machine.name: known.get(machine.name, self._now) for machine in empty}
        if self._now - self._last_growth < DELAY_AFTER_ADD:
            return
        for machine in empty:
            if self._removal_time(machine) <= self._now:
                self.remove(machine)

    def deadlines(self) -> Iterator[float]:
        yield self._backoff_until
        for machine in self._joined():
            if machine.name in self._unneeded_since:
                yield max(self._removal_time(machine), self._last_growth + DELAY_AFTER_ADD)

    def _removal_time(self, machine: Machine) -> float:
        patience = UNNEEDED_TIME if self._cluster.is_ready(machine) else UNREADY_TIME
        return self._unneeded_since[machine.name] + patience
