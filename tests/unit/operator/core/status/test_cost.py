"""What a job costs on nodes with a price."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.types import Refusal
from tests.unit.operator.manifests import NOW
from tests.unit.operator.pool_world import BOOT_COST, FULL, RATE, READY, bound, on_pool


def test_a_job_costs_its_nodes_from_boot_to_end_and_says_what_was_idle() -> None:
    world = on_pool()
    world.run_operator()
    bound(world, scheduled=0, started=60)
    world.wait(3600)
    world.run_operator()
    cost = world.status["cost"]
    assert Decimal(cost["amount"]) == BOOT_COST + 2 * RATE
    assert Decimal(cost["idleAmount"]) == BOOT_COST + (2 * RATE / 60).quantize(Decimal("0.0001"))
    assert cost["gpuSeconds"] == 7200 + 360
    assert Decimal(cost["hourlyRate"]) == 2 * RATE


def test_attempts_add_up_and_the_end_names_the_sum() -> None:
    world = on_pool()
    world.run_operator()
    bound(world, scheduled=0, started=0)
    world.wait(3600)
    world.run_operator()
    world.capacity = replace(READY, reserved=(None, None))
    world.pods.clear()  # a lost node takes its pod along
    world.run_job_controller()
    world.run_operator()
    assert Decimal(world.status["cost"]["settledAmount"]) == BOOT_COST + 2 * RATE
    kept = (2 * RATE / 6).quantize(Decimal("0.0001"))
    world.wait(600)
    world.run_operator()
    bound(world, scheduled=4200, started=4200)
    world.wait(3600)
    world.run_operator()
    assert Decimal(world.status["cost"]["amount"]) == BOOT_COST + 4 * RATE + kept
    world.end_all(0)
    world.run_operator()
    assert "26.16 USD" in world.condition("Complete")["message"]


BOOTING = replace(READY, is_ready=False, reserved=(NOW,))


def test_nodes_that_are_kept_count_before_anything_runs() -> None:
    """Else a job whose pods never come could keep nodes for ever, and its maxCost would never see them."""
    world = on_pool(BOOTING)
    for _ in range(6):
        world.run_operator()
        world.wait(600)
    world.run_operator()
    assert Decimal(world.status["cost"]["amount"]) == pytest.approx(RATE, abs=Decimal("0.001"))


def test_a_limit_of_cost_ends_a_job_that_only_keeps_nodes() -> None:
    world = on_pool(BOOTING, limits={"maxCost": "2.95"})
    world.run_operator()
    assert world.requeue_time is not None
    world.now = world.requeue_time
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CostLimitReached"
    assert world.now - NOW <= timedelta(minutes=31)


def test_without_a_limit_nodes_are_kept_for_an_hour() -> None:
    """By default, and only while there are nodes: waiting for them costs nothing."""
    world = on_pool(FULL)
    world.run_operator()
    world.wait(7200)
    world.run_operator()
    assert not world.is_true("Failed")
    world.capacity = BOOTING
    world.run_operator()
    world.wait(3599)
    world.run_operator()
    assert not world.is_true("Failed")
    world.wait(1)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CapacityNotFound"
    assert "limits.startDeadlineSeconds" in world.condition("Failed")["message"]


def test_a_start_deadline_of_the_job_is_the_one_that_counts() -> None:
    world = on_pool(BOOTING, limits={"startDeadlineSeconds": 90_000})
    world.run_operator()
    world.wait(80_000)
    world.run_operator()
    assert not world.is_true("Failed")


def test_a_gang_whose_pods_are_never_created_lets_go_of_its_nodes_and_is_charged() -> None:
    world = on_pool()
    world.run_operator()
    (batch_job,) = world.jobs.values()
    batch_job["metadata"]["creationTimestamp"] = NOW.isoformat()
    world.wait(119)
    world.run_operator()
    assert world.jobs
    world.wait(1)
    world.run_operator()
    restarts = world.status["restarts"]
    assert (restarts["lastFailure"]["reason"], restarts["withoutProgress"]) == ("PodsRefused", 1)
    assert not world.jobs


def test_a_namespace_whose_money_is_spent_ends_its_jobs() -> None:
    world = on_pool()
    world.run_operator()
    bound(world, scheduled=0, started=0)
    world.overspent = "Namespace vision has spent the 100 USD of this month."
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CostLimitReached"


def test_a_refusal_of_a_dry_run_is_told_in_the_api_servers_words() -> None:
    refusal = Refusal("create", "Pod", "masks-0", "Forbidden", "exceeded quota: gpus", NOW + timedelta(seconds=2))
    world = on_pool(replace(FULL, reason=Reason.WRITE_REFUSED, message=refusal.sentence))
    world.refusals = {refusal.key: refusal}
    world.run_operator()
    assert not world.jobs
    assert world.is_true("WriteRefused")
    assert "exceeded quota: gpus" in world.condition("WriteRefused")["message"]
    assert "exceeded quota: gpus" in world.condition("Reconciling")["message"]
