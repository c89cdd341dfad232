"""What nodes cost: by the second, not less than a minimum, from the instance's creation to its end."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from masktrain_operator.api.pool_status import NodeState, PoolCost, PoolNodeStatus
from masktrain_operator.core import shapes
from masktrain_operator.core.pools import billing
from masktrain_operator.core.pools.billing import Tariff

CREATED = datetime(2026, 1, 5, 8, tzinfo=UTC)
VM = Tariff(60, 2, Decimal("5.90"))
BARE_METAL = Tariff(3600, 8, Decimal("80.00"))


def at(seconds: float) -> datetime:
    return CREATED + timedelta(seconds=seconds)


def node(busy_seconds: int = 0, busy_since: float | None = None) -> PoolNodeStatus:
    state = NodeState.IDLE if busy_since is None else NodeState.BUSY
    return PoolNodeStatus(
        instance_id="i-1",
        state=state,
        added_by_operator=True,
        created_time=CREATED,
        busy_seconds=busy_seconds,
        busy_since=None if busy_since is None else at(busy_since),
    )


BILLS = {
    "a VM that was there for a moment": (VM, 1, 60, "0.0983"),
    "a VM by the second": (VM, 61, 61, "0.1000"),
    "a VM for an hour": (VM, 3600, 3600, "5.9000"),
    "bare metal that was there for a moment": (BARE_METAL, 1, 3600, "80.0000"),
    "bare metal for an hour": (BARE_METAL, 3600, 3600, "80.0000"),
    "bare metal by the second after that": (BARE_METAL, 3601, 3601, "80.0222"),
    "without a price": (Tariff(60, 2), 3600, 3600, "0.0000"),
}


@pytest.mark.parametrize(("tariff", "seconds", "billed", "usd"), BILLS.values(), ids=BILLS)
def test_what_a_node_costs(tariff: Tariff, seconds: float, billed: float, usd: str) -> None:
    assert billing.billed_seconds(node(), at(seconds), tariff) == billed
    cost = billing.add_ended_node(PoolCost(), node(), at(seconds), tariff)
    assert (cost.settled_amount, cost.settled_gpu_seconds) == (usd, billed * tariff.gpus)


def test_a_node_shows_no_cost_without_a_price() -> None:
    assert billing.with_cost(node(), at(60), Tariff(60, 2)).cost is None


@pytest.mark.parametrize(("shape", "minimum"), [("VM.GPU3.2", 60), ("BM.GPU.H100.8", 3600)])
def test_the_least_time_that_oracle_bills(shape: str, minimum: int) -> None:
    assert shapes.minimum_billed_seconds(shape) == minimum


def test_preemptible_nodes_cost_half() -> None:
    assert shapes.hourly_price("VM.GPU3.2", preemptible=False) == Decimal("5.90")
    assert shapes.hourly_price("VM.GPU3.2", preemptible=True) == Decimal("2.95")


def test_a_price_of_ones_own_is_taken_as_it_is() -> None:
    own = Decimal("1.23")
    assert shapes.hourly_price("VM.GPU3.2", preemptible=True, override=own) == own
    assert shapes.hourly_price("VM.UNKNOWN", preemptible=False) is None


IDLENESS = {
    "all of it was work": (VM, node(busy_seconds=3600), 3600, "0.0000"),
    "half of it was": (VM, node(busy_seconds=1800), 3600, "2.9500"),
    "work that goes on": (VM, node(busy_seconds=600, busy_since=1800), 3600, "1.9667"),
    "the rest of a minimum is idle": (BARE_METAL, node(busy_seconds=1800), 1800, "40.0000"),
}


@pytest.mark.parametrize(("tariff", "entry", "seconds", "usd"), IDLENESS.values(), ids=IDLENESS)
def test_what_of_it_was_idle(tariff: Tariff, entry: PoolNodeStatus, seconds: float, usd: str) -> None:
    assert billing.add_ended_node(PoolCost(), entry, at(seconds), tariff).settled_idle_amount == usd


def test_the_total_is_what_is_settled_and_what_still_runs() -> None:
    settled = billing.add_ended_node(PoolCost(), node(busy_seconds=3600), at(3600), VM)
    total = billing.total(settled, [node(), node(busy_seconds=1800)], at(1800), VM)
    assert (total.amount, total.idle_amount, total.gpu_seconds) == ("11.8000", "2.9500", 14_400)
    assert (total.settled_amount, total.settled_gpu_seconds) == ("5.9000", 7200)


def test_settling_node_by_node_loses_less_than_a_cent_in_a_thousand() -> None:
    cost = PoolCost()
    for _ in range(1000):
        cost = billing.add_ended_node(cost, node(), at(61), VM)
    assert abs(Decimal(cost.settled_amount) - 1000 * VM.price_of(61)) < Decimal("0.05")


def test_work_is_counted_on_when_a_node_turns_idle() -> None:
    busy = billing.enter_state(node(), NodeState.BUSY, at(100))
    assert billing.enter_state(busy, NodeState.BUSY, at(200)).busy_since == at(100)
    idle = billing.enter_state(busy, NodeState.IDLE, at(400))
    assert (idle.busy_seconds, idle.busy_since) == (300, None)
