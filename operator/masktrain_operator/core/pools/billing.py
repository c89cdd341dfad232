"""What nodes cost: instance seconds at the shape's hourly price, with the least time that Oracle bills.

Billing runs from the instance's creation to its termination, not from when Kubernetes sees the node.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from masktrain_operator.api.pool_status import NodeState, PoolCost, PoolNodeStatus

# Four decimals, because a second of the cheapest shape costs 0.0004 USD.
CENTS = Decimal("0.0001")
HOUR = 3600


@dataclass(frozen=True)
class Tariff:
    """How one node of a pool is billed. Without a price nothing costs anything, and the status says so."""

    minimum_seconds: int
    gpus: int
    hourly_rate: Decimal | None = None

    def price_of(self, seconds: float) -> Decimal:
        # By its text: Decimal(0.1) would carry the float's binary error into the bill.
        return Decimal(str(seconds)) * (self.hourly_rate or Decimal(0)) / HOUR


def billed_seconds(entry: PoolNodeStatus, until: datetime, tariff: Tariff) -> float:
    return max((until - entry.created_time).total_seconds(), tariff.minimum_seconds)


def paid_until(entry: PoolNodeStatus, tariff: Tariff) -> datetime:
    """End of the minimum, which is billed whatever becomes of the node."""
    return entry.created_time + timedelta(seconds=tariff.minimum_seconds)


def busy_seconds(entry: PoolNodeStatus, until: datetime) -> float:
    running = (until - entry.busy_since).total_seconds() if entry.busy_since else 0.0
    # `until` may be Oracle's time of the end, before the moment at which the operator saw the node busy.
    return entry.busy_seconds + max(running, 0.0)


def enter_state(entry: PoolNodeStatus, state: NodeState, now: datetime) -> PoolNodeStatus:
    """The entry in its new state, its busy time counted on."""
    if state is NodeState.BUSY:
        return entry.model_copy(update={"state": state, "busy_since": entry.busy_since or now})
    seconds = round(busy_seconds(entry, now))
    return entry.model_copy(update={"state": state, "busy_since": None, "busy_seconds": seconds})


def with_cost(entry: PoolNodeStatus, until: datetime, tariff: Tariff) -> PoolNodeStatus:
    """The entry with what it would cost if it ended at `until`."""
    priced = tariff.hourly_rate is not None
    cost = amount(tariff.price_of(billed_seconds(entry, until, tariff))) if priced else None
    return entry.model_copy(update={"cost": cost, "paid_until": paid_until(entry, tariff)})


def add_ended_node(cost: PoolCost, entry: PoolNodeStatus, ended: datetime, tariff: Tariff) -> PoolCost:
    """The pool's cost with one more node that is gone."""
    seconds = billed_seconds(entry, ended, tariff)
    idle = max(seconds - busy_seconds(entry, ended), 0.0)
    return cost.model_copy(
        update={
            "settled_amount": amount(Decimal(cost.settled_amount) + tariff.price_of(seconds)),
            "settled_idle_amount": amount(Decimal(cost.settled_idle_amount) + tariff.price_of(idle)),
            "settled_gpu_seconds": cost.settled_gpu_seconds + round(seconds * tariff.gpus),
        }
    )


def total(cost: PoolCost, nodes: Sequence[PoolNodeStatus], now: datetime, tariff: Tariff) -> PoolCost:
    """Settled cost and that of the nodes that are still there."""
    seconds = [billed_seconds(entry, now, tariff) for entry in nodes]
    idle = [max(s - busy_seconds(entry, now), 0.0) for s, entry in zip(seconds, nodes, strict=True)]
    return cost.model_copy(
        update={
            "amount": amount(Decimal(cost.settled_amount) + tariff.price_of(sum(seconds))),
            "idle_amount": amount(Decimal(cost.settled_idle_amount) + tariff.price_of(sum(idle))),
            "gpu_seconds": cost.settled_gpu_seconds + round(sum(seconds) * tariff.gpus),
        }
    )


def amount(value: Decimal) -> str:
    """As it stands in a status: dollars with four decimals."""
    return str(value.quantize(CENTS))


def for_people(value: str | Decimal) -> str:
    return f"{Decimal(value):.2f} USD"
