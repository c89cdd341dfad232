"""What nodes cost: instance seconds at the shape's hourly price, with the least time that Oracle bills.

Billing runs from the instance's creation to its termination, not from when Kubernetes sees the node.
"""

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from masktrain_operator.api.pool_status import (
    GPUNodePoolStatus,
    NamespaceUsage,
    NodeState,
    PoolCost,
    PoolNodeStatus,
)

# Four decimals, because a second of the cheapest shape costs 0.0004 USD.
CENTS = Decimal("0.0001")
SMALLEST = Decimal("0.000001")
"""What is added up every few seconds must not be rounded to cents each time."""
MOST_NAMESPACES = 1000
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


# What each namespace spends: a node is charged to those that it is held for, and after that to the last ones, because
# what runs idle came or stayed for them. A new node's minimum is charged at once: it is owed whatever becomes of it.


def month_of(moment: datetime) -> str:
    return f"{moment:%Y-%m}"


def first_of_month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def next_month(moment: datetime) -> datetime:
    return first_of_month(first_of_month(moment) + timedelta(days=32))


def charge(
    status: GPUNodePoolStatus, ended: Mapping[str, datetime], now: datetime, tariff: Tariff
) -> GPUNodePoolStatus:
    """The status with all nodes charged up to now, or to their end; calling it again adds nothing."""
    usage = {entry.name: entry for entry in status.namespaces}
    nodes = []
    for entry in status.nodes:
        until = _charged_until(entry, ended.get(entry.instance_id, now), tariff)
        if until is not None:
            since = max(entry.charged_until or entry.created_time, first_of_month(now))
            price = tariff.price_of(max(0.0, (until - since).total_seconds())) / len(entry.namespaces)
            for name in entry.namespaces:
                usage[name] = _with_amount(usage.get(name), name, price, month_of(now))
        nodes.append(entry if until is None else entry.model_copy(update={"charged_until": until}))
    return status.model_copy(update={"nodes": nodes, "namespaces": _sorted(usage.values(), month_of(now))})


def _charged_until(entry: PoolNodeStatus, moment: datetime, tariff: Tariff) -> datetime | None:
    """None for a node that is held for nobody, or charged so far already."""
    if not entry.namespaces:
        return None
    if entry.charged_until is None:
        return max(moment, paid_until(entry, tariff))
    return moment if moment > entry.charged_until else None


def hold(entry: PoolNodeStatus, namespaces: Collection[str], now: datetime) -> PoolNodeStatus:
    """The entry, charged to those namespaces from now on; nobody that holds it leaves it to the last ones."""
    if not namespaces:
        return entry
    since = entry.charged_until if entry.namespaces else max(entry.charged_until or now, now)
    return entry.model_copy(update={"namespaces": sorted(namespaces)[:64], "charged_until": since})


def count_held(status: GPUNodePoolStatus, now: datetime) -> GPUNodePoolStatus:
    """The status with the number of nodes of each namespace."""
    held = Counter(name for entry in status.nodes for name in entry.namespaces)
    held.update(filter(None, status.coming_for))
    usage = {entry.name: entry.model_copy(update={"nodes": 0}) for entry in status.namespaces}
    for name, count in held.items():
        known = _with_amount(usage.get(name), name, Decimal(0), month_of(now))
        usage[name] = known.model_copy(update={"nodes": count})
    return status.model_copy(update={"namespaces": _sorted(usage.values(), month_of(now))})


def spent(status: GPUNodePoolStatus, namespace: str, now: datetime) -> Decimal:
    """USD of this month."""
    known = next((entry for entry in status.namespaces if entry.name == namespace), None)
    return Decimal(known.amount) if known is not None and known.month == month_of(now) else Decimal(0)


def spent_at(status: GPUNodePoolStatus, namespace: str, limit: Decimal, now: datetime, tariff: Tariff) -> datetime:
    """When the namespace will have spent so much, at what it holds now; not later than the end of the month."""
    shares = [
        Decimal(1) / len(entry.namespaces)
        for entry in status.nodes
        if namespace in entry.namespaces and entry.charged_until is not None and entry.charged_until <= now
    ]
    rate = sum(shares, Decimal(0)) * tariff.price_of(HOUR)
    left = limit - spent(status, namespace, now)
    end = next_month(now)
    if left <= 0 or rate <= 0:
        return end
    return min(end, now + timedelta(seconds=math.ceil(min(left * HOUR / rate, Decimal(10**7)))))


def _with_amount(known: NamespaceUsage | None, name: str, price: Decimal, month: str) -> NamespaceUsage:
    before = Decimal(known.amount) if known is not None and known.month == month else Decimal(0)
    nodes = known.nodes if known is not None else 0
    return NamespaceUsage(name=name, nodes=nodes, month=month, amount=str((before + price).quantize(SMALLEST)))


def _sorted(usage: Iterable[NamespaceUsage], month: str) -> list[NamespaceUsage]:
    """Without what says nothing any more. Those that hold or have spent most are the last to be forgotten."""
    current = [entry for entry in usage if entry.nodes or entry.month == month]
    kept = sorted(current, key=lambda entry: (-entry.nodes, -Decimal(entry.amount)))[:MOST_NAMESPACES]
    return sorted(kept, key=lambda entry: entry.name)
