"""How nodes come and go: the asynchronous part of Container Engine, and the machines behind its instances."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from .clock import Schedule
from .failures import Failures
from .pools import Names, Node, NodeError, Pool, WorkRequest, arrive, open_work_request
from .records import CallLog, Ledger, LedgerEntry, Violation

UPDATE = "NODEPOOL_UPDATE"
RECONCILE = "NODEPOOL_RECONCILE"


class Machines(Protocol):
    """Told by the life cycle, which holds the cloud's lock meanwhile: slow work belongs elsewhere."""

    def switch_on(self, node: Node) -> None:
        """It has booted: let it join Kubernetes."""

    def switch_off(self, node: Node) -> None:
        """It was terminated: end it, and remove its Node as OKE's controller does."""

    def cut_power(self, node: Node) -> None:
        """It dies; Kubernetes is not told."""


class NoMachines:
    """Instances exist in the books alone."""

    def switch_on(self, node: Node) -> None: ...

    def switch_off(self, node: Node) -> None: ...

    def cut_power(self, node: Node) -> None: ...


@dataclass(frozen=True)
class Eviction:
    """What a call says about the pods on a node that goes. None: what the pool's own settings say."""

    grace_seconds: float | None = None
    force: bool | None = None

    @property
    def overrides_all(self) -> bool:
        return self.grace_seconds is not None and self.force is not None


@dataclass
class LifeCycle:
    """Moves the nodes of all pools along."""

    schedule: Schedule
    names: Names
    failures: Failures
    ledger: Ledger
    log: CallLog
    machines: Machines
    gone: list[Node] = field(default_factory=list)
    """Nodes no pool lists any more; Compute still knows their instances."""

    def resize(self, pool: Pool, size: int, eviction: Eviction) -> WorkRequest:
        """Bring a pool to `size`. Too many: phantoms go first, then whichever nodes the cloud likes."""
        pool.size = size
        request = self._open(pool, UPDATE)
        surplus = len(pool.counted()) - size
        # Phantoms hold places of the size although nothing is behind them; OKE lets go of them before it touches
        # instances.
        for phantom in [node for node in pool.nodes if node.is_phantom][: max(0, surplus)]:
            pool.nodes.remove(phantom)
        for _ in range(len(pool.counted()) - size):
            self._remove_any(pool, request, eviction)
        self._begin(request, lambda: self._fill(pool, request))
        return request

    def delete(self, pool: Pool, node: Node, eviction: Eviction, *, decrement: bool) -> WorkRequest:
        """Drain and terminate one node; without `decrement` another one takes its place."""
        request = self._open(pool, UPDATE)
        if decrement:
            pool.size -= 1
        self._remove(pool, node, request, eviction, decrement=decrement)
        self._begin(request, lambda: self._fill(pool, request))
        return request

    def reconcile(self, pool: Pool) -> WorkRequest:
        """What OKE does by itself when a pool has fewer instances than its size: it tries again."""
        pool.nodes = [node for node in pool.nodes if not node.is_phantom]
        request = self._open(pool, RECONCILE)
        self._begin(request, lambda: self._fill(pool, request))
        return request

    def reclaim(self, pool: Pool, node: Node) -> WorkRequest:
        """Oracle wants a preemptible instance back: it is terminated at once, and a replacement is tried for."""
        # OKE fills the place again although its job may be over: an operator has to lower the size itself.
        self._terminated(pool, node)
        return self.reconcile(pool)

    def kill(self, node: Node) -> None:
        """An instance dies. It is billed on, and Container Engine notices nothing."""
        node.instance_state = "STOPPED"
        self.machines.cut_power(node)

    def _open(self, pool: Pool, operation: str) -> WorkRequest:
        pool.etag = self.names.etag()
        return open_work_request(pool, operation, self.names.ocid("clustersworkrequest"), self.schedule.now())

    def _begin(self, request: WorkRequest, work: Callable[[], None]) -> None:
        def begin() -> None:
            request.status = "IN_PROGRESS"
            request.time_started = self.schedule.now()
            work()

        self.schedule.after(request.pool.accept_seconds, begin)

    def _fill(self, pool: Pool, request: WorkRequest) -> None:
        """Add what is missing to the pool's size; the work request ends at once if nothing is."""
        for _ in range(pool.size - len(pool.counted())):
            node = self._new_node(pool)
            pool.nodes.append(node)
            request.pending.append(node)
            self.schedule.after(pool.settings.provision_seconds, partial(self._provision, pool, node, request))
        self._arrive(pool, request, None)

    def _new_node(self, pool: Pool) -> Node:
        settings, counted = pool.settings, pool.counted()
        name, address = self.names.node(settings)
        domains = [node.availability_domain for node in counted]
        # Spread evenly, as OKE does; so one domain without capacity leaves a pool half full.
        domain = min(settings.availability_domains, key=domains.count)
        fault_domain = settings.fault_domains[len(counted) % len(settings.fault_domains)]
        return Node(settings, name, domain, fault_domain, address)

    def _provision(self, pool: Pool, node: Node, request: WorkRequest) -> None:
        # Somebody has removed it while it waited for a host.
        if node.state != "CREATING":
            return
        shortage = self.failures.shortage(node.availability_domain)
        if shortage:
            node.error = NodeError(*shortage, self.names.request_id())
            node.state = "FAILING"
            self._arrive(pool, request, node, node.error)
            return
        self._create_instance(node, request)
        self.schedule.after(pool.settings.boot_seconds, lambda: self._booted(pool, node))

    def _create_instance(self, node: Node, request: WorkRequest) -> None:
        node.instance_id = self.names.ocid("instance")
        node.time_created = self.schedule.now()
        request.instances[node.instance_id] = "IN_PROGRESS"
        pool = node.pool
        self.ledger.open(LedgerEntry(node.instance_id, pool.id, pool.shape, pool.preemptible, node.time_created))

    def _booted(self, pool: Pool, node: Node) -> None:
        # Removed, reclaimed or dead before it had booted.
        if node.state != "CREATING" or node.instance_state != "PROVISIONING":
            return
        node.instance_state = "RUNNING"
        # The machine runs and is billed, but nothing about the node changes any more, as with broken user data.
        if self.failures.is_stranger():
            return
        node.state = "ACTIVE"
        self.machines.switch_on(node)
        self._no_longer_pending(pool, node, "CREATED")

    def _remove_any(self, pool: Pool, request: WorkRequest, eviction: Eviction) -> None:
        unborn = [node for node in pool.counted() if node.instance_id is None]
        if unborn:
            self._forget(pool, unborn[0])
            return
        # Nobody outside Oracle knows how OKE chooses. Chance is the inconvenient answer, and the seed makes it
        # repeatable.
        victim = self.names.choose(pool.counted())
        details = f"size was lowered below the number of instances; {victim.instance_id} was chosen at random"
        self.log.violations.append(Violation(self.schedule.now(), "random-victim", pool.settings.id, details))
        self._remove(pool, victim, request, eviction, decrement=True)

    def _remove(self, pool: Pool, node: Node, request: WorkRequest, eviction: Eviction, *, decrement: bool) -> None:
        was, node.state = node.state, "DELETING"
        request.pending.append(node)
        request.instances[str(node.instance_id)] = "IN_PROGRESS"
        stall, forced = _drain(pool, eviction)

        def drained() -> None:
            if node.state != "DELETING":
                return
            if not forced or self.failures.fails_delete():
                # The node stays, and so does its place in the size; else the pool would have one too many.
                pool.size += decrement
                self._stays(pool, node, was)
                self._delete_failed(pool, node, request)
                return
            node.instance_state = "TERMINATING"
            self.schedule.after(pool.settings.delete_seconds, lambda: self._terminated(pool, node))

        self.schedule.after(pool.settings.accept_seconds + stall, drained)

    def _stays(self, pool: Pool, node: Node, state: str) -> None:
        node.state = state
        if state == "CREATING":
            self.schedule.after(pool.settings.boot_seconds, lambda: self._booted(pool, node))

    def _delete_failed(self, pool: Pool, node: Node, request: WorkRequest) -> None:
        message = f"Unable to delete node {node.name}: pods on it could not be evicted within the eviction grace period"
        request.instances[str(node.instance_id)] = "FAILED"
        self._arrive(pool, request, node, NodeError("EvictionFailed", message, self.names.request_id()))

    def _terminated(self, pool: Pool, node: Node) -> None:
        if node.state == "DELETED":
            return
        node.state, node.instance_state = "DELETED", "TERMINATED"
        self.ledger.close(str(node.instance_id), self.schedule.now())
        self.machines.switch_off(node)
        self._no_longer_pending(pool, node, "DELETED")
        # DELETED entries stay listed for a while, so clients must not count all that is listed.
        self.schedule.after(pool.settings.linger_seconds, lambda: self._forget(pool, node))

    def _forget(self, pool: Pool, node: Node) -> None:
        """Take a node off the pool's list."""
        node.state = "DELETED"
        if node in pool.nodes:
            pool.nodes.remove(node)
        if node.instance_id is None:
            self._no_longer_pending(pool, node, "DELETED")
        else:
            self.gone.append(node)

    def _no_longer_pending(self, pool: Pool, node: Node, action: str) -> None:
        for request in [request for request in pool.work_requests if node in request.pending]:
            if node.instance_id is not None:
                request.instances[node.instance_id] = action
            self._arrive(pool, request, node)

    def _arrive(self, pool: Pool, request: WorkRequest, node: Node | None, error: NodeError | None = None) -> None:
        if arrive(request, node, error, self.schedule.now()):
            self._finished(pool, request)

    def _finished(self, pool: Pool, request: WorkRequest) -> None:
        pool.stuck = pool.stuck and request.status == "FAILED"
        short = any(node.is_phantom for node in pool.nodes)
        if request.status == "FAILED" and short and pool.sticks_at_failure and not pool.stuck:
            self.stick(pool)

    def stick(self, pool: Pool) -> None:
        """OKE's own attempt to fill the pool fails, and the pool stays in UPDATING until a later change succeeds."""
        pool.stuck = True
        request = self._open(pool, RECONCILE)
        request.time_started = self.schedule.now()
        error = NodeError("InternalError", "Out of host capacity.", self.names.request_id())
        request.status = "IN_PROGRESS"
        arrive(request, None, error, self.schedule.now())


def _drain(pool: Pool, eviction: Eviction) -> tuple[float, bool]:
    """How long the drain takes, and whether the node goes after it."""
    settings = pool.settings
    grace = settings.eviction_grace_seconds if eviction.grace_seconds is None else eviction.grace_seconds
    # Pods that go when asked let the drain end early; the grace is only its limit.
    if not settings.resist_eviction:
        return min(settings.drain_seconds, grace), True
    return grace, bool(eviction.force)
