"""What a job costs: its share of each node's GPUs, from being bound to it until its pod ends, at the pool's price."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from masktrain_operator.api.status import MaskTrainingJobStatus, StatusCost
from masktrain_operator.core import pods
from masktrain_operator.core.context import Context
from masktrain_operator.core.types import Capacity, Manifest, NodeRate

CENTS = Decimal("0.0001")
HOUR = 3600
COUNT_EVERY = timedelta(seconds=10)
"""Nodes that are kept are counted on so often: each time is a write of the status, and rounded."""


@dataclass(frozen=True)
class _Spent:
    amount: Decimal = Decimal(0)
    idle: Decimal = Decimal(0)
    gpu_seconds: float = 0.0
    hourly_rate: Decimal = Decimal(0)

    def __add__(self, other: "_Spent") -> "_Spent":
        return _Spent(
            self.amount + other.amount,
            self.idle + other.idle,
            self.gpu_seconds + other.gpu_seconds,
            self.hourly_rate + other.hourly_rate,
        )


def with_cost(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """The status with the cost of the attempt in work added to that of the earlier ones; it never shrinks."""
    spent = _spent_by_attempt(context)
    if spent is None:
        return status
    cost = status.cost or StatusCost()
    # Pods that are gone take their times with them; what they cost does not shrink.
    amount = max(Decimal(cost.amount), Decimal(cost.settled_amount) + spent.amount)
    idle = max(Decimal(cost.idle_amount), Decimal(cost.settled_idle_amount) + spent.idle)
    figures = {
        "amount": _written(amount),
        "idle_amount": _written(idle),
        "gpu_seconds": max(cost.gpu_seconds, cost.settled_gpu_seconds + round(spent.gpu_seconds)),
        "hourly_rate": _written(spent.hourly_rate),
    }
    return status.model_copy(update={"cost": cost.model_copy(update=figures)})


def close_attempt_cost(status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """An attempt is over: what it cost belongs to the past, and the next one adds to it."""
    cost = status.cost
    if cost is None:
        return status
    past = {
        "settled_amount": cost.amount,
        "settled_idle_amount": cost.idle_amount,
        "settled_gpu_seconds": cost.gpu_seconds,
    }
    return status.model_copy(update={"cost": cost.model_copy(update=past)})


def with_reserved_cost(context: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """Nodes that are kept for an attempt are paid for before it begins: those that came for it from their creation."""
    capacity, cost = _kept(context), status.cost or StatusCost()
    if capacity is None or capacity.hourly_rate is None:
        return _no_longer_reserved(status)
    counted = cost.reserved_until
    if counted is not None and context.now - counted < COUNT_EVERY and not capacity.is_ready:
        return status
    begins = [_latest(since, counted) or context.now for since in capacity.reserved]
    seconds = sum(_seconds_between(begin, context.now) for begin in begins)
    price = _price(seconds, capacity.hourly_rate)
    grown = {
        "amount": _written(Decimal(cost.amount) + price),
        "idle_amount": _written(Decimal(cost.idle_amount) + price),
        "gpu_seconds": cost.gpu_seconds + round(seconds * capacity.gpus_per_node),
        "hourly_rate": _written(capacity.hourly_rate * len(capacity.reserved)),
        "reserved_until": context.now,
    }
    # Settled at once: the attempt's own share is computed anew at each look, and added to what is settled.
    return close_attempt_cost(status.model_copy(update={"cost": cost.model_copy(update=grown)}))


def _kept(context: Context) -> Capacity | None:
    """What nodes are kept for an attempt that has not begun: with its Job its pods are what counts."""
    capacity, attempt = context.observed.capacity, context.attempt
    at_work = attempt is not None and attempt.job is not None and not context.attempt_is_accounted
    return None if capacity is None or at_work or not capacity.reserved else capacity


def _latest(*moments: datetime | None) -> datetime | None:
    return max((moment for moment in moments if moment is not None), default=None)


def _no_longer_reserved(status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    if status.cost is None or status.cost.reserved_until is None:
        return status
    return status.model_copy(update={"cost": status.cost.model_copy(update={"reserved_until": None})})


def spending_per_hour(context: Context) -> Decimal:
    """USD per hour that the pods of the attempt in work cost now, or the nodes that are kept for the next one."""
    capacity = _kept(context)
    if capacity is not None and capacity.hourly_rate is not None:
        return capacity.hourly_rate * len(capacity.reserved)
    if context.attempt is None:
        return Decimal(0)
    working = [pod for pod in context.attempt.pods if pods.end_time(pod) is None]
    return sum((_hourly_share(context, rate) for _, rate in _priced(context, working)), Decimal(0))


def cost_sentence(context: Context, status: MaskTrainingJobStatus) -> str:
    """Of a job that has ended; empty if nothing is known of its cost."""
    cost = status.cost
    if cost is None:
        return ""
    compute = context.job.spec.compute
    gpus = compute.nodes * compute.gpus_per_node
    hours = Decimal(cost.gpu_seconds) / gpus / HOUR
    return (
        f" ({gpus} GPUs for {_duration(hours)}: {Decimal(cost.amount):.2f} {cost.currency}, "
        f"{Decimal(cost.idle_amount):.2f} {cost.currency} of it before training started)"
    )


def _spent_by_attempt(context: Context) -> _Spent | None:
    if context.attempt is None:
        return None
    spent = [_spent_by_pod(pod, rate, context) for pod, rate in _priced(context, context.attempt.pods)]
    return sum(spent, _Spent()) if spent else None


def _priced(context: Context, candidates: Iterable[Manifest]) -> Iterator[tuple[Manifest, NodeRate]]:
    """Those pods whose nodes have a price, with it."""
    for pod in candidates:
        rate = context.observed.node_rates.get(pods.node_name(pod) or "")
        if rate is not None:
            yield pod, rate


def _hourly_share(context: Context, rate: NodeRate) -> Decimal:
    return rate.hourly_rate * Decimal(min(context.job.spec.compute.gpus_per_node, rate.gpus)) / rate.gpus


def _spent_by_pod(pod: Manifest, rate: NodeRate, context: Context) -> _Spent:
    hourly = _hourly_share(context, rate)
    bound = pods.condition_time(pod, "PodScheduled") or context.now
    end = pods.end_time(pod) or context.now
    # A container that never started was idle to its end.
    started = pods.start_time(pod) or end
    seconds = max(0.0, (end - bound).total_seconds())
    return _Spent(
        amount=_price(seconds, hourly),
        idle=_price(min(seconds, _seconds_between(bound, started)), hourly),
        gpu_seconds=seconds * context.job.spec.compute.gpus_per_node,
        hourly_rate=hourly,
    )


def _seconds_between(begin: datetime, end: datetime) -> float:
    return max(0.0, (end - begin).total_seconds())


def _price(seconds: float, hourly_rate: Decimal) -> Decimal:
    return Decimal(str(seconds)) * hourly_rate / HOUR


def _written(amount: Decimal) -> str:
    return str(amount.quantize(CENTS))


def _duration(hours: Decimal) -> str:
    minutes = round(hours * 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
