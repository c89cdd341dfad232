"""What a job costs on nodes with a price."""

from decimal import Decimal

from tests.unit.operator.pool_world import RATE, bound, on_pool


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
