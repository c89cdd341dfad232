"""What the cloud writes down: every call, what a careful client never causes, and which instance was billed when."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Call:
    """One request. `operation` is the SDK's method; `parameters` are those of path, query, `if-match` and size."""

    time: float
    method: str
    operation: str
    parameters: dict[str, Any] = field(default_factory=dict)
    status: int = 0
    code: str = ""
    request_id: str = ""
    answer_lost: bool = False


@dataclass(frozen=True)
class Violation:
    """Something a careful client never causes, such as leaving the choice of the victim to the cloud."""

    time: float
    kind: str
    pool_id: str
    details: str


class CallLog:
    """Every call and every violation, in order."""

    def __init__(self) -> None:
        """Start empty."""
        self.calls: list[Call] = []
        self.violations: list[Violation] = []

    def of(self, *operations: str) -> list[Call]:
        """The calls of these operations."""
        return [call for call in self.calls if call.operation in operations]

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """Everything, for `GET /_log`."""
        return {
            "calls": [asdict(call) for call in self.calls],
            "violations": [asdict(violation) for violation in self.violations],
        }


PREEMPTIBLE_FACTOR = 0.5  # preemptible capacity costs half


@dataclass
class LedgerEntry:
    """One instance's life, in seconds since the epoch. Billing ends with `time_terminated`, not when asked for."""

    instance_id: str
    pool_id: str
    shape: str
    preemptible: bool
    time_created: float
    time_terminated: float | None = None

    def seconds(self, now: float) -> float:
        """How long it existed until `now`."""
        return (now if self.time_terminated is None else min(self.time_terminated, now)) - self.time_created


class Ledger:
    """All instances that ever existed, in order of creation."""

    def __init__(self) -> None:
        """Start empty."""
        self._entries: dict[str, LedgerEntry] = {}

    def open(self, entry: LedgerEntry) -> None:
        """An instance was created."""
        self._entries[entry.instance_id] = entry

    def close(self, instance_id: str, now: float) -> None:
        """An instance was terminated; only the first time counts."""
        entry = self._entries[instance_id]
        if entry.time_terminated is None:
            entry.time_terminated = now

    def entries(self) -> list[LedgerEntry]:
        """Every instance."""
        return list(self._entries.values())

    def cost(self, price_per_hour: float, minimum_seconds: float, now: float) -> float:
        """What all of them cost until `now`; see `ledger_cost`."""
        return ledger_cost(self.entries(), price_per_hour, minimum_seconds, now)

    def as_json(self) -> list[dict[str, Any]]:
        """Every instance, for `GET /_ledger`."""
        return [asdict(entry) for entry in self._entries.values()]


def ledger_cost(entries: list[LedgerEntry], price_per_hour: float, minimum_seconds: float, now: float) -> float:
    """What these instances cost until `now`; each is billed by the second, but at least `minimum_seconds`."""
    return sum(
        max(minimum_seconds, entry.seconds(now))
        / 3600
        * price_per_hour
        * (PREEMPTIBLE_FACTOR if entry.preemptible else 1)
        for entry in entries
    )
