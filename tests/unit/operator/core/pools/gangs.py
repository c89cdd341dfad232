"""Gangs and slots for tables of admission."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from masktrain_operator.core.gangs import Gang
from masktrain_operator.core.pools.packing import NodeSlot, PoolSlots

MORNING = datetime(2026, 1, 5, 8, tzinfo=UTC)
SHAPE_LABEL = "node.kubernetes.io/instance-type"


def gang(name: str, nodes: int = 1, gpus: int = 2, *, age: float = 0, **fields: Any) -> Gang:
    """`age`: seconds before this morning."""
    created = MORNING - timedelta(seconds=age)
    namespace = fields.pop("namespace", "vision")
    return Gang(f"uid-of-{name}", namespace, name, nodes, gpus, created, **fields)


def slots(
    name: str = "gpu", free: tuple[int, ...] = (), *, growable: int = 0, gpus: int = 2, **fields: Any
) -> PoolSlots:
    """A pool with so many GPUs free on each of its nodes."""
    there = tuple(NodeSlot(f"{name}-{number}", gpus_free) for number, gpus_free in enumerate(free, 1))
    limit = fields.pop("limit", len(there) + growable)
    rate = Decimal(fields.pop("rate", "4"))
    return PoolSlots(name, gpus, there, growable, limit, rate, **fields)
