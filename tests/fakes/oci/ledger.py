"""The truth about money: which instance existed from when to when."""

from dataclasses import asdict, dataclass
from typing import Any

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
