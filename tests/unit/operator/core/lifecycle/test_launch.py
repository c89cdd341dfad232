"""An attempt waits for all of its nodes, and is confined to them."""

import pytest

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.labels import NODE_POOL_LABEL
from masktrain_operator.core.types import Capacity
from tests.unit.operator.pool_world import FULL, READY, on_pool


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


@pytest.mark.parametrize("reason", [Reason.POOL_NOT_FOUND, Reason.POOL_TOO_SMALL, Reason.SHAPE_NOT_SUPPORTED])
def test_what_only_a_person_can_change_stalls_the_job(reason: Reason) -> None:
    world = on_pool(Capacity(is_ready=False, reason=reason, message="Create it."))
    world.run_operator()
    assert world.condition("Stalled")["reason"] == reason
    assert world.reasons() == [reason]
    world.capacity = READY
    world.run_operator()
    assert not world.is_true("Stalled")


def test_a_cost_limit_needs_a_price() -> None:
    world = on_pool(
        Capacity(is_ready=True, reason=Reason.WAITING_FOR_NODES, message="", pool="odd"), limits={"maxCost": "3.00"}
    )
    world.run_operator()
    assert world.condition("Failed")["reason"] == "PriceUnknown"
    assert world.jobs == {}
