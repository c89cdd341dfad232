"""What Oracle shows of a hand-made pool, changed here and there."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from masktrain_operator.core.pools.oke import OkeError, OkeNode, WorkRequest
from masktrain_operator.core.pools.types import PoolContext

OUT_OF_CAPACITY = OkeError("InternalError", "Out of host capacity.", "request-of-oracle")


def listing(context: PoolContext, *nodes: OkeNode, **fields: Any) -> PoolContext:
    """The context with those entries in the pool's list, and other fields of the pool."""
    oke = replace(context.observed.oke, nodes=nodes, **{"size": len(nodes), **fields})
    return replace(context, observed=replace(context.observed, oke=oke))


def node(number: int, state: str = "ACTIVE", error: OkeError | None = None) -> OkeNode:
    return OkeNode(f"i-{number}", f"node-{number}", state, "AD-1", error)


def phantom(number: int, error: OkeError | None = OUT_OF_CAPACITY, state: str = "FAILING") -> OkeNode:
    return OkeNode(None, f"node-{number}", state, "AD-1", error)


def work_request(
    status: str, accepted: datetime, *resources: str, error: OkeError | None = None, named: str = "request"
) -> WorkRequest:
    finished = None if status in ("ACCEPTED", "IN_PROGRESS") else accepted + timedelta(seconds=30)
    errors = (error,) if error else ()
    return WorkRequest(named, "NODEPOOL_UPDATE", status, resources, accepted, finished, errors)
