"""Machines of a simulated node pool, and what of their time was paid, booted and used: the truth, not the ledger."""

from dataclasses import dataclass, field
from datetime import datetime

from masktrain_operator.core.pools.oke import OkeError, OkeNode


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
