"""What a job costs on nodes with a price."""

from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.types import Refusal
from tests.unit.operator.manifests import NOW
from tests.unit.operator.pool_world import BOOT_COST, FULL, RATE, READY, bound, on_pool
from tests.unit.operator.world import World


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


def ends_after(world: World, seconds: int) -> None:
    """It fails in that second and not in the one before."""
    world.run_operator()
    world.wait(seconds - 1)
    world.run_operator()
    assert not world.is_true("Failed")
    world.wait(1)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CapacityNotFound"


def test_without_nodes_a_job_waits_for_as_long_as_it_likes() -> None:
    world = on_pool(FULL)
    world.run_operator()
    world.wait(7200)
    world.run_operator()
    assert not world.is_true("Failed")
    world.capacity = replace(BOOTING, reserved=(None,))
    ends_after(world, 3600)
    assert "3600 s, which is startTimeoutSeconds of their GPUNodePool" in world.condition("Failed")["message"]


def test_the_pool_says_how_long_nodes_are_kept() -> None:
    world = on_pool(BOOTING)
    world.start_timeout_seconds = 600
    ends_after(world, 600)


def test_a_start_deadline_of_the_job_only_shortens_what_the_pool_allows() -> None:
    """A year in the job switched the hour off."""
    ends_after(on_pool(BOOTING, limits={"startDeadlineSeconds": 31_536_000}), 3600)
    ends_after(on_pool(BOOTING, limits={"startDeadlineSeconds": 900}), 900)


def test_the_limit_of_the_pool_is_that_of_a_gang_that_has_its_job_too() -> None:
    world = on_pool(limits={"startDeadlineSeconds": 31_536_000})
    world.run_operator()
    world.create_pods()
    ends_after(world, 3600)


def test_nodes_that_something_of_others_keeps_from_use_are_not_kept_for_ever() -> None:
    """A batch Job of the next attempt's name is enough: the gang has its nodes and cannot start."""
    world = on_pool(BOOTING)
    world.foreign_jobs = ("masks-0",)
    world.capacity = replace(READY, reserved=(NOW,))
    ends_after(world, 3600)


def test_nodes_are_not_kept_for_ever_for_a_job_whose_old_pods_do_not_end() -> None:
    """An admission policy of its namespace that refuses their deletion is enough."""
    world = on_pool()
    world.run_operator()
    world.start_pods()
    world.run_operator()
    assert "nodesHeldSince" not in world.status
    world.capacity = None
    world.end_pod(1, 1)
    world.run_job_controller()
    world.is_woken = True
    world.refused_writes = {("delete", "Pod")}
    world.pass_time(3599)
    assert world.condition("Reconciling")["reason"] == "WaitingForOldPods"
    world.pass_time(1)
    assert world.condition("Failed")["reason"] == "CapacityNotFound"


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
