"""A world whose job trains on a node pool with a price."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.types import Capacity, NodeRate
from tests.unit.operator.manifests import NOW
from tests.unit.operator.world import World

RATE = Decimal("5.90")
READY = Capacity(
    is_ready=True,
    reason=Reason.WAITING_FOR_NODES,
    message="",
    pool="v100",
    hourly_rate=RATE,
    reserved=(NOW - timedelta(minutes=6), None),
    gpus_per_node=1,
)
BOOT_COST = RATE / 10
"""Of the node that came for the job."""
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
