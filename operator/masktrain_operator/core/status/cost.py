"""What a job costs: its share of each node's GPUs, from being bound to it until its pod ends, at the pool's price."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from masktrain_operator.api.status import MaskTrainingJobStatus, StatusCost
from masktrain_operator.core import pods
from masktrain_operator.core.context import Context
from masktrain_operator.core.types import Capacity, Manifest, NodeRate

CENTS = Decimal("0.0001")
HOUR = 3600


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


def with_cost(situation: Context, status: MaskTrainingJobStatus) -> MaskTrainingJobStatus:
    """The status with the cost of the attempt in work added to that of the earlier ones; it never shrinks."""
    spent = _spent_by_attempt(situation)
    if spent is None:
        return status
    cost = status.cost or StatusCost()
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
    settled = {
        "settled_amount": cost.amount,
        "settled_idle_amount": cost.idle_amount,
        "settled_gpu_seconds": cost.gpu_seconds,
    }
    return status.model_copy(update={"cost": cost.model_copy(update=settled)})


def with_boot_cost(status: MaskTrainingJobStatus, capacity: Capacity | None) -> MaskTrainingJobStatus:
    """Nodes that came for the job were paid for while they booted."""
    if capacity is None or capacity.hourly_rate is None:
        return status
    cost = status.cost or StatusCost()
    grown = {
        "amount": _written(Decimal(cost.amount) + capacity.boot_cost),
        "idle_amount": _written(Decimal(cost.idle_amount) + capacity.boot_cost),
        "gpu_seconds": cost.gpu_seconds + capacity.boot_gpu_seconds,
        "hourly_rate": _written(capacity.hourly_rate),
    }
    return close_attempt_cost(status.model_copy(update={"cost": cost.model_copy(update=grown)}))


def cost_sentence(situation: Context, status: MaskTrainingJobStatus) -> str:
    """Of a job that has ended; empty if nothing is known of its cost."""
    cost = status.cost
    if cost is None:
        return ""
    compute = situation.job.spec.compute
    gpus = compute.nodes * compute.gpus_per_node
    hours = Decimal(cost.gpu_seconds) / gpus / HOUR
    return (
        f" ({gpus} GPUs for {_duration(hours)}: {Decimal(cost.amount):.2f} {cost.currency}, "
        f"{Decimal(cost.idle_amount):.2f} {cost.currency} of it before training started)"
    )


def _spent_by_attempt(situation: Context) -> _Spent | None:
    attempt, rates = situation.attempt, situation.observed.node_rates
    if attempt is None:
        return None
    spent = [
        _spent_by_pod(pod, rate, situation)
        for pod in attempt.pods
        if (rate := rates.get(pods.node_name(pod) or "")) is not None
    ]
    return sum(spent, _Spent()) if spent else None


def _spent_by_pod(pod: Manifest, rate: NodeRate, situation: Context) -> _Spent:
    share = Decimal(min(situation.job.spec.compute.gpus_per_node, rate.gpus)) / rate.gpus
    hourly = rate.hourly_rate * share
    bound = pods.condition_time(pod, "PodScheduled") or situation.now
    end = pods.end_time(pod) or situation.now
    started = pods.start_time(pod) or end
    seconds = max(0.0, (end - bound).total_seconds())
    return _Spent(
        amount=_price(seconds, hourly),
        idle=_price(min(seconds, _seconds_between(bound, started)), hourly),
        gpu_seconds=seconds * situation.job.spec.compute.gpus_per_node,
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
