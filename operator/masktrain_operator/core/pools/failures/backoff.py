"""Waiting after Oracle could not give what was asked for: longer each time, and not as long in each pool."""

import hashlib
from datetime import datetime, timedelta

from masktrain_operator.api.pool_status import Backoff, GPUNodePoolStatus, PoolReason
from masktrain_operator.core.pools.deadlines import is_backing_off

# A resize that finds no capacity leaves phantom nodes, which have to be cleared away each time.
FIRST_SECONDS = 60.0
LIMIT_SECONDS = 900.0
JITTER = 0.2


def back_off(
    status: GPUNodePoolStatus, pool_uid: str, reason: PoolReason, message: str, now: datetime
) -> GPUNodePoolStatus:
    """One more failure in a row; while one is waited for, others change nothing."""
    if is_backing_off(status, now):
        return status
    failures = status.backoff.failures + 1 if status.backoff else 1
    until = now + timedelta(seconds=backoff_seconds(failures, pool_uid))
    return status.model_copy(
        update={"backoff": Backoff(failures=failures, until=until, reason=reason, message=message)}
    )


def wait_longer(status: GPUNodePoolStatus, until: datetime, message: str) -> GPUNodePoolStatus:
    """The same wait, not over before `until`."""
    if status.backoff is None or status.backoff.until >= until:
        return status
    return status.model_copy(update={"backoff": status.backoff.model_copy(update={"until": until, "message": message})})


def backoff_seconds(failures: int, pool_uid: str) -> float:
    """The jitter is a function of the pool and the count, so that the plan stays one."""
    # The exponent is bounded, because a region may be without capacity for longer than a float has room.
    exact = min(LIMIT_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    digest = hashlib.sha256(f"{pool_uid}/{failures}".encode()).digest()
    return exact * (1 + JITTER * (digest[0] / 127.5 - 1))
