"""What the cluster-autoscaler and Karpenter have in common, in terms of one node pool.

Both are given more than their documentation promises: a scheduler that starts gangs whole and by age, as the operator
does, pods that are never evicted to save a node, and failures of Oracle that are noticed at once.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator

from devcluster.simulation.cluster import Cluster
from devcluster.simulation.oke import CloudPool, Machine
from devcluster.simulation.timeline import Timeline
from devcluster.simulation.workload import ANY_POOL, TrainingJob
from masktrain_operator.core.pools.packing import NodeSlot, Packing, PoolSlots


class Autoscaler(ABC):
    interval = 10.0
    """Seconds between two looks."""

    def __init__(self, timeline: Timeline, cluster: Cluster, cloud: CloudPool, max_nodes: int) -> None:
        self._timeline, self._cluster, self._cloud = timeline, cluster, cloud
        self._max_nodes = max_nodes
        self.next_look = 0.0
        self._asked_for: dict[Machine, float] = {}
        """Machines that have not joined, and when they were first seen."""

    # As the simulated world drives it

    def wake(self) -> None:
        """Pods exist, and are pending, as soon as their job does."""
        for job in self._cluster.waiting():
            self._cluster.create_job(job, ANY_POOL)
        self.next_look = min(self.next_look, self._turn_after(self._now))

    def look(self) -> None:
        needed, missing = self._simulate_scheduling()
        if self._cloud.view().phantoms:
            self._give_up_failed()
        elif missing and self.may_grow():
            self._grow(missing)
        self._give_up_overdue()
        self.shrink(needed)
        self.next_look = self._turn_after(self._now)

    def skip_idle_looks(self) -> None:
        """Move the next look to the first one that can find anything new."""
        moments = [*self.deadlines(), *(since + self.provision_seconds + 1 for since in self._asked_for.values())]
        if self._cloud.size != len(self._joined()):
            moments.append(self._timeline.next_event)  # Oracle may fail without anybody being told
        ahead = min((moment for moment in moments if moment > self._now), default=math.inf)
        self.next_look = max(self.next_look, self._turn_at(ahead))

    # What differs

    @abstractmethod
    def may_grow(self) -> bool:
        """Whether no failure is too recent."""

    @abstractmethod
    def grown(self) -> None:
        """The pool was asked for more nodes."""

    @abstractmethod
    def failed_to_grow(self) -> None:
        """Nodes that were asked for will not come."""

    @abstractmethod
    def shrink(self, needed: frozenset[str]) -> None:
        """Remove nodes; pending pods will run on those that are `needed`."""

    @abstractmethod
    def deadlines(self) -> Iterator[float]:
        """Moments at which time alone changes a decision."""

    @property
    @abstractmethod
    def provision_seconds(self) -> float:
        """Until a node that has not registered is given up."""

    # What they share

    @property
    def _now(self) -> float:
        return self._timeline.seconds

    def _turn_after(self, moment: float) -> float:
        return (math.floor(moment / self.interval) + 1) * self.interval

    def _turn_at(self, moment: float) -> float:
        return moment if math.isinf(moment) else math.ceil(moment / self.interval) * self.interval

    def _pending(self) -> list[TrainingJob]:
        found = [job for job in self._cluster.jobs.values() if job.admitted_to is not None and not job.is_running]
        return sorted(found, key=lambda job: job.turn)

    def _simulate_scheduling(self) -> tuple[frozenset[str], int]:
        """Nodes that pending pods will run on, and how many nodes more they need."""
        gpus = self._cloud.settings.gpus
        packing = Packing(PoolSlots(self._cloud.name, gpus, tuple(self._slots())))
        slots = {slot for job in self._pending() for slot in packing.keep(job.gang())}
        grown = sum(slot.grown for slot in slots)
        names = frozenset(slot.name for slot in slots if not slot.grown)
        return names, min(grown, max(0, self._max_nodes - self._cloud.size))

    def _slots(self) -> Iterator[NodeSlot]:
        for machine in self._coming_last():
            if machine.joined is None:
                yield NodeSlot(machine.name, self._cloud.settings.gpus, present=False)
            elif self._cluster.is_open(machine):
                yield NodeSlot(machine.name, self._cluster.free_gpus(machine))
        for number in range(self._cloud.view().coming):
            yield NodeSlot(f"coming-{number}", self._cloud.settings.gpus, present=False)

    def _coming_last(self) -> list[Machine]:
        found = [machine for machine in self._cloud.machines if machine.counts and machine.error is None]
        return sorted(found, key=lambda machine: machine.joined is None)

    def _joined(self) -> list[Machine]:
        return [machine for machine in self._coming_last() if machine.joined is not None]

    def _grow(self, count: int) -> None:
        self._cloud.resize(self._cloud.size + count, self._cloud.view().etag)
        self.grown()

    def _give_up_failed(self) -> None:
        """Lower the size to what is there, and wait."""
        view = self._cloud.view()
        self._cloud.resize(view.size - view.phantoms, view.etag)
        self.failed_to_grow()

    def _give_up_overdue(self) -> None:
        waiting = [machine for machine in self._coming_last() if machine.state == "CREATING"]
        self._asked_for = {machine: self._asked_for.get(machine, self._now) for machine in waiting}
        for machine, since in self._asked_for.items():
            if self._now - since > self.provision_seconds and machine.instance_id is not None:
                self._cloud.delete_node(machine.instance_id)
                self.failed_to_grow()

    def remove(self, machine: Machine) -> None:
        """Taint, then terminate."""
        self._cluster.cordon(machine)
        assert machine.instance_id is not None
        self._cloud.delete_node(machine.instance_id)

    def is_empty(self, machine: Machine, needed: frozenset[str]) -> bool:
        return not self._cluster.is_busy(machine) and machine.name not in needed
