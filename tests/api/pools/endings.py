"""What a pool looks like when all is over."""

import pytest

from masktrain_operator.core import shapes
from tests.api.pools.world import PoolWorld


def is_empty(world: PoolWorld) -> bool:
    return world.cloud_pool.size == 0 and not world.cloud_pool.nodes and not world.status["nodes"]


def assert_no_wrongs(world: PoolWorld) -> None:
    """Nothing happened that must never happen."""
    assert not world.watchman.wrongs
    assert not world.fake.log.violations


def assert_paid(world: PoolWorld) -> None:
    """All instances are gone, and the status has what the cloud's own books have."""
    assert all(entry.time_terminated is not None for entry in world.fake.ledger.entries())
    assert float(world.status["cost"]["amount"]) == pytest.approx(true_cost(world), rel=0.01)
    assert world.status["addedNodes"] == 0


def true_cost(world: PoolWorld) -> float:
    """USD until now, by the fake cloud's own books."""
    shape = world.cloud_pool.settings.shape
    price = shapes.hourly_price(shape, preemptible=False)
    assert price is not None
    return world.fake.ledger.cost(float(price), shapes.minimum_billed_seconds(shape), world.now)
