"""One OKE node pool as Oracle runs it: sizes are wishes, nodes take their time, and some of them never come.

What of a machine's time was paid, booted and used is counted here too: the truth, not the operator's books.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Protocol

from masktrain_operator.core.pools.oke import Instance, OkeError, OkeNode, OkePool, WorkRequest

from .timeline import Timeline


@dataclass(eq=False)
class Machine:
    """An entry of an OKE node pool; with an instance, something that is billed. Times are seconds of the timeline."""

    name: str
    domain: str
    by_hand: bool
    state: str = "CREATING"
    instance_id: str | None = None
    error: OkeError | None = None
    created: float | None = None
    created_time: datetime | None = None
    joined: float | None = None
    ended: float | None = None
    ended_time: datetime | None = None
    has_power: bool = True
    busy_since: float | None = None
    busy_seconds: float = 0.0
    last_busy: float = 0.0
    """When the last pod left it."""
    boot_seconds: float = field(default=0.0, repr=False)

    @property
    def counts(self) -> bool:
        """Whether the pool's size includes it."""
        return self.state not in ("DELETING", "DELETED")

    @property
    def is_paid(self) -> bool:
        return self.created is not None and self.ended is None

    @property
    def is_healthy(self) -> bool:
        return self.state == "ACTIVE" and self.has_power and self.joined is not None

    def view(self) -> OkeNode:
        return OkeNode(self.instance_id, self.name, self.state, self.domain, self.error)

    def turn_busy(self, busy: bool, now: float) -> None:
        if busy and self.busy_since is None:
            self.busy_since = now
        if not busy and self.busy_since is not None:
            self.busy_seconds += now - self.busy_since
            self.busy_since, self.last_busy = None, now


@dataclass(frozen=True)
class Usage:
    """Node seconds: `paid` is the sum of the others."""

    paid: float = 0.0
    busy: float = 0.0
    booting: float = 0.0
    idle: float = 0.0
    minimum: float = 0.0
    """After the end of machines that were billed for longer than they were there."""

    @property
    def wasted(self) -> float:
        return self.paid - self.busy

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.paid + other.paid,
            self.busy + other.busy,
            self.booting + other.booting,
            self.idle + other.idle,
            self.minimum + other.minimum,
        )


def usage_of(machine: Machine, now: float, minimum_seconds: float) -> Usage:
    if machine.created is None:
        return Usage()
    end = now if machine.ended is None else machine.ended
    there = end - machine.created
    paid = max(there, minimum_seconds)
    busy = machine.busy_seconds + (now - machine.busy_since if machine.busy_since is not None else 0.0)
    booting = (end if machine.joined is None else min(machine.joined, end)) - machine.created
    return Usage(paid, busy, booting, there - booting - busy, paid - there)


OUT_OF_CAPACITY = OkeError("InternalError", "Out of host capacity.", "request-of-oracle")
NO_LIMIT = OkeError("LimitExceeded", "The service limit gpu-count is used up.", "request-of-oracle")

REMOVAL_FAILED = OkeError("InternalError", "The node could not be terminated.", "request-of-oracle")


class Refused(Exception):
    """Oracle does not accept a call."""

    def __init__(self, error: OkeError) -> None:
        super().__init__(error.message)
        self.error = error


class Stale(Exception):
    """The pool has changed since it was read."""


class Kubelets(Protocol):
    """What of the machines Kubernetes gets to see."""

    def register(self, pool: "CloudPool", machine: Machine) -> None: ...

    def offer_gpus(self, machine: Machine) -> None: ...

    def fall_silent(self, machine: Machine) -> None: ...

    def vanish(self, machine: Machine) -> None: ...

    def is_busy(self, machine: Machine) -> bool: ...


@dataclass(frozen=True)
class CloudSettings:
    """Seconds that things take. `boot_seconds`: from an instance's creation until its GPUs are offered; None for one
    that never joins.
    """

    shape: str = "VM.GPU.A10.2"
    gpus: int = 2
    preemptible: bool = False
    boot_seconds: Callable[[], float | None] = lambda: 240.0
    accept_seconds: float = 2.0
    provision_seconds: float = 15.0
    plugin_seconds: float = 20.0
    terminate_seconds: float = 60.0


@dataclass
class Request:
    """A work request under way. `waits_for`: machines that are not yet there, or not yet gone."""

    id: str
    accepted: datetime
    waits_for: list[Machine] = field(default_factory=list)
    begun: bool = False
    finished: datetime | None = None
    errors: tuple[OkeError, ...] = ()

    def view(self) -> WorkRequest:
        status = "IN_PROGRESS" if self.finished is None else ("FAILED" if self.errors else "SUCCEEDED")
        return WorkRequest(self.id, "NODEPOOL_UPDATE", status, (), self.accepted, self.finished, self.errors)


class CloudPool:
    """`shortage`: why no machine comes at the moment. `refusal`: why no resize is accepted."""

    def __init__(self, name: str, timeline: Timeline, kubelets: Kubelets, settings: CloudSettings) -> None:
        self.name, self.settings = name, settings
        self.size = 0
        self.machines: list[Machine] = []
        self.past: dict[str, Machine] = {}
        self.requests: list[Request] = []
        self.shortage: OkeError | None = None
        self.refusal: OkeError | None = None
        self.next_boots: list[float | None] = []
        """Boot times of the next machines, None for one that never joins; then the settings' own."""
        self.failing_removals = 0
        """Of so many nodes the next removals are accepted, and come to nothing."""
        self.random_victims = 0
        """Times that the size was lowered below the machines there, so that Oracle chose one."""
        self.busy_victims = 0
        """Machines that somebody asked to terminate while pods ran there."""
        self._timeline, self._kubelets = timeline, kubelets
        self._etag = self._count = self._wishes_by_hand = 0

    # What the operator asks

    def view(self) -> OkePool:
        return OkePool(
            id=f"ocid1.nodepool.{self.name}",
            name=self.name,
            cluster_id="ocid1.cluster.simulated",
            compartment_id="ocid1.compartment.simulated",
            lifecycle_state="ACTIVE",
            lifecycle_details="",
            size=self.size,
            etag=str(self._etag),
            shape=self.settings.shape,
            preemptible=self.settings.preemptible,
            nodes=tuple(machine.view() for machine in self.machines),
            work_requests=tuple(request.view() for request in reversed(self.requests[-20:])),
        )

    def instance(self, instance_id: str) -> Instance | None:
        machine = self.past.get(instance_id)
        if machine is None or machine.created_time is None:
            return None
        state = "RUNNING" if machine.ended is None else "TERMINATED"
        settings = self.settings
        return Instance(
            instance_id, machine.created_time, state, machine.domain, settings.shape, preemptible=settings.preemptible
        )

    def ended(self, instance_ids: Collection[str]) -> dict[str, datetime]:
        found = {i: self.past[i].ended_time for i in instance_ids if i in self.past}
        return {instance: ended for instance, ended in found.items() if ended is not None}

    def resize(self, size: int, etag: str) -> None:
        """Raises Stale or Refused."""
        if etag != str(self._etag):
            raise Stale
        if self.refusal is not None:
            raise Refused(self.refusal)
        self._set_size(size)

    def delete_node(self, instance_id: str) -> str:
        """Terminate one machine and lower the size with it; a machine that is going already just goes on."""
        machine = self.past[instance_id]
        request = self._open_request()
        if self.failing_removals > 0:
            self.failing_removals -= 1
            request.errors += (REMOVAL_FAILED,)
        elif machine in self.machines and machine.counts:
            self.busy_victims += self._kubelets.is_busy(machine)
            self.size -= 1
            self._take_down(machine, request)
        request.begun = True
        self._arrive(request)
        return request.id

    # What people and Oracle do

    def add_by_hand(self, count: int) -> None:
        self._wishes_by_hand += count
        self._set_size(self.size + count)

    def remove_by_hand(self, machine: Machine) -> None:
        assert machine.instance_id is not None
        self.delete_node(machine.instance_id)

    def reclaim(self, machine: Machine) -> None:
        """A preemptible instance is gone at once; the pool makes another one."""
        self._end(machine)
        # The replacement is whose the lost one was.
        self._wishes_by_hand += machine.by_hand
        self._fill_later(self._open_request())

    def cut_power(self, machine: Machine) -> None:
        """Billed on, and Container Engine notices nothing."""
        machine.has_power = False
        self._kubelets.fall_silent(machine)

    # Inside

    def _set_size(self, size: int) -> None:
        self.size = size
        request = self._open_request()
        for machine in [m for m in self.machines if m.error is not None]:
            # Entries without an instance go first, like phantoms at Oracle.
            if len(self._counted()) > size:
                self.machines.remove(machine)
        for machine in reversed(self._counted()[size:]):
            if machine.instance_id is not None:
                self.random_victims += 1
            self._take_down(machine, request)
        self._fill_later(request)

    def _counted(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.counts]

    def _open_request(self) -> Request:
        self._etag += 1
        request = Request(f"work-request-{self._etag}", self._timeline.now)
        self.requests.append(request)
        return request

    def _fill_later(self, request: Request) -> None:
        self._timeline.after(self.settings.accept_seconds, lambda: self._fill(request))

    def _fill(self, request: Request) -> None:
        for _ in range(self.size - len(self._counted())):
            self._count += 1
            machine = Machine(f"{self.name}-{self._count}", f"AD-{self._count % 3 + 1}", self._wishes_by_hand > 0)
            self._wishes_by_hand -= machine.by_hand
            self.machines.append(machine)
            request.waits_for.append(machine)
            self._after(self.settings.provision_seconds, machine, partial(self._provision, machine, request))
        request.begun = True
        self._arrive(request)

    def _after(self, seconds: float, machine: Machine, act: Callable[[], None]) -> None:
        """Unless the machine is going by then."""
        self._timeline.after(seconds, lambda: act() if machine.state == "CREATING" else None)

    def _provision(self, machine: Machine, request: Request) -> None:
        if self.shortage is not None:
            machine.error, machine.state = self.shortage, "FAILING"
            self._arrive(request, machine, self.shortage)
            return
        machine.instance_id = f"ocid1.instance.{machine.name}"
        machine.created, machine.created_time = self._timeline.seconds, self._timeline.now
        self.past[machine.instance_id] = machine
        boot = self.next_boots.pop(0) if self.next_boots else self.settings.boot_seconds()
        # It never joins, and its work request never ends.
        if boot is None:
            return
        machine.boot_seconds = boot
        register = max(boot - self.settings.plugin_seconds, 0.0)
        self._after(register, machine, lambda: self._register(machine, request))

    def _register(self, machine: Machine, request: Request) -> None:
        machine.state = "ACTIVE"
        self._kubelets.register(self, machine)
        self._arrive(request, machine)
        self._timeline.after(min(self.settings.plugin_seconds, machine.boot_seconds), lambda: self._offer(machine))

    def _offer(self, machine: Machine) -> None:
        if machine.has_power and machine.state == "ACTIVE":
            machine.joined = self._timeline.seconds
            self._kubelets.offer_gpus(machine)

    def _take_down(self, machine: Machine, request: Request) -> None:
        machine.state = "DELETING"
        if machine.instance_id is None:
            self._forget(machine)
            return
        request.waits_for.append(machine)

        def end() -> None:
            self._end(machine)
            self._arrive(request, machine)

        self._timeline.after(self.settings.terminate_seconds, end)

    def _end(self, machine: Machine) -> None:
        if machine.ended is None:
            machine.ended, machine.ended_time = self._timeline.seconds, self._timeline.now
            machine.state = "DELETED"
            self._kubelets.vanish(machine)
            machine.turn_busy(False, self._timeline.seconds)
        self._forget(machine)

    def _forget(self, machine: Machine) -> None:
        """Pool and work requests stop waiting for it."""
        if machine in self.machines:
            self.machines.remove(machine)
        for request in self.requests:
            if request.finished is None and machine in request.waits_for:
                self._arrive(request, machine)

    def _arrive(self, request: Request, machine: Machine | None = None, error: OkeError | None = None) -> None:
        request.waits_for = [waited for waited in request.waits_for if waited is not machine]
        request.errors += (error,) if error else ()
        if request.begun and not request.waits_for and request.finished is None:
            request.finished = self._timeline.now
