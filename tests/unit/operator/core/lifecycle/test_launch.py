"""A job on node pools: it waits for all of its nodes, is confined to them, and knows what they cost."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.labels import NODE_POOL_LABEL
from masktrain_operator.core.types import Capacity, NodeRate
from tests.unit.operator.manifests import NOW
from tests.unit.operator.world import World

RATE = Decimal("5.90")
READY = Capacity(
    is_ready=True, reason=Reason.WAITING_FOR_NODES, message="", pool="v100", hourly_rate=RATE, boot_cost=Decimal("0.5")
)
FULL = Capacity(is_ready=False, reason=Reason.WAITING_FOR_CAPACITY, message="Waiting for 2 nodes: v100 is full.")


def on_pool(capacity: Capacity = READY, **sections: dict[str, Any]) -> World:
    world = World(**sections)
    world.capacity = capacity
    return world


def bound(world: World, *, scheduled: float, started: float) -> None:
    """Both pods are bound to priced nodes and start, seconds after the beginning."""
    world.create_pods()
    for number, pod in enumerate(world.pods.values()):
        pod["spec"]["nodeName"] = f"gpu-{number}"
        world.node_rates[f"gpu-{number}"] = NodeRate(RATE, 1, NOW)
        pod["status"] = {
            "phase": "Running",
            "conditions": [
                {"type": "Ready", "status": "True"},
                {"type": "PodScheduled", "status": "True", "lastTransitionTime": _time(scheduled)},
            ],
            "containerStatuses": [{"name": "trainer", "state": {"running": {"startedAt": _time(started)}}}],
        }


def _time(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_no_job_is_created_before_the_nodes_are_there() -> None:
    world = on_pool(FULL)
    world.run_operator()
    assert world.jobs == {}
    assert world.status["state"] == "Pending"
    assert world.condition("Reconciling")["message"] == FULL.message
    assert world.reasons() == ["WaitingForCapacity"]


def test_once_they_are_the_gang_is_confined_to_the_pool() -> None:
    world = on_pool()
    world.run_operator()
    job = world.jobs["masks-0"]
    template = job["spec"]["template"]
    assert job["metadata"]["labels"][NODE_POOL_LABEL] == "v100"
    assert template["metadata"]["labels"][NODE_POOL_LABEL] == "v100"
    assert template["spec"]["nodeSelector"][NODE_POOL_LABEL] == "v100"
    assert "oci.oraclecloud.com/oke-is-preemptible" in {t["key"] for t in template["spec"]["tolerations"]}
    assert world.status["nodePool"] == "v100"


@pytest.mark.parametrize("reason", [Reason.POOL_NOT_FOUND, Reason.POOL_TOO_SMALL])
def test_what_only_a_person_can_change_stalls_the_job(reason: Reason) -> None:
    world = on_pool(Capacity(is_ready=False, reason=reason, message="Create it."))
    world.run_operator()
    assert world.condition("Stalled")["reason"] == reason
    assert world.reasons() == [reason]
    world.capacity = READY
    world.run_operator()
    assert not world.is_true("Stalled")


def test_capacity_that_does_not_come_in_time_fails_the_job() -> None:
    world = on_pool(FULL, limits={"startDeadlineSeconds": 600})
    assert world.run_operator().requeue_after == 600
    world.wait(600)
    world.run_operator()
    failed = world.condition("Failed")
    assert failed["reason"] == "CapacityNotFound"
    assert "600 s" in failed["message"]
    assert "v100 is full" in failed["message"]


def test_the_start_deadline_is_over_once_all_workers_run() -> None:
    world = World(limits={"startDeadlineSeconds": 600})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.wait(10_000)
    world.run_operator()
    assert not world.is_true("Failed")


def test_a_cost_limit_needs_a_price() -> None:
    world = on_pool(Capacity(is_ready=True, reason=Reason.WAITING_FOR_NODES, message="", pool="odd"), limits=COST_LIMIT)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "PriceUnknown"
    assert world.jobs == {}


COST_LIMIT = {"maxCost": "3.00"}


def test_at_its_cost_limit_the_job_stops() -> None:
    world = on_pool(limits=COST_LIMIT)
    world.run_operator()
    bound(world, scheduled=0, started=60)
    world.wait(600)
    world.run_operator()
    assert not world.is_true("Failed")
    world.wait(600)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CostLimitReached"
    assert "3.00" in world.condition("Failed")["message"]
    assert world.jobs == {}
    assert all("deletionTimestamp" in pod["metadata"] for pod in world.pods.values())


def test_a_job_costs_its_nodes_from_boot_to_end_and_says_what_was_idle() -> None:
    world = on_pool()
    world.run_operator()
    bound(world, scheduled=0, started=60)
    world.wait(3600)
    world.run_operator()
    cost = world.status["cost"]
    assert Decimal(cost["amount"]) == Decimal("0.5") + 2 * RATE
    assert Decimal(cost["idleAmount"]) == Decimal("0.5") + (2 * RATE / 60).quantize(Decimal("0.0001"))
    assert cost["gpuSeconds"] == 7200
    assert Decimal(cost["hourlyRate"]) == 2 * RATE


def test_attempts_add_up_and_the_end_names_the_sum() -> None:
    world = on_pool()
    world.run_operator()
    bound(world, scheduled=0, started=0)
    world.wait(3600)
    world.run_operator()
    world.pods.clear()  # a lost node takes its pod along
    world.run_job_controller()
    world.run_operator()
    assert Decimal(world.status["cost"]["settledAmount"]) == Decimal("12.3")
    world.wait(600)
    world.run_operator()
    bound(world, scheduled=4200, started=4200)
    world.wait(3600)
    world.run_operator()
    assert Decimal(world.status["cost"]["amount"]) == Decimal("24.6")
    world.end_all(0)
    world.run_operator()
    assert "24.60 USD" in world.condition("Complete")["message"]
