"""Waiting after Oracle could not give what was asked for: doubling, with a jitter that differs from pool to pool."""

import hashlib
from datetime import datetime, timedelta

from masktrain_operator.api.pool_status import Backoff, GPUNodePoolStatus, LastError, PoolReason

from .oke import OkeError, OkeNode, OkePool

FIRST_SECONDS = 60.0
LIMIT_SECONDS = 900.0
JITTER = 0.2
LIMIT_CODES = ("LimitExceeded", "QuotaExceeded")
CAPACITY_WORDS = "out of host capacity"
"""There is no code for it: Oracle words it so, below the code InternalError."""


def is_backing_off(status: GPUNodePoolStatus, now: datetime) -> bool:
    return status.backoff is not None and status.backoff.until > now


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


def backoff_seconds(failures: int, pool_uid: str) -> float:
    """The jitter is a function of the pool and the count, so that the plan stays one."""
    exact = min(LIMIT_SECONDS, FIRST_SECONDS * 2.0 ** min(failures - 1, 16))
    digest = hashlib.sha256(f"{pool_uid}/{failures}".encode()).digest()
    return exact * (1 + JITTER * (digest[0] / 127.5 - 1))


def capacity_error(oke: OkePool) -> tuple[PoolReason, str, OkeError] | None:
    """Why nodes that were asked for will not come, with the availability domain; None if they may."""
    for node in oke.nodes:
        if node.is_phantom and node.error is not None:
            return _reason(node.error), _sentence(node, node.error), node.error
    request = oke.failed_request
    if request is None or oke.phantoms == 0:
        return None
    error = request.errors[0] if request.errors else OkeError("Unknown", f"Work request {request.id} failed.")
    return _reason(error), f"Oracle gave up: {_ended(error.message)}", error


def last_error(error: OkeError, now: datetime) -> LastError:
    return LastError(code=error.code, message=error.message, request_id=error.request_id, time=now)


def _reason(error: OkeError) -> PoolReason:
    if error.code in LIMIT_CODES:
        return PoolReason.LIMIT_EXCEEDED
    out = CAPACITY_WORDS in error.message.lower()
    return PoolReason.OUT_OF_HOST_CAPACITY if out else PoolReason.PROVISIONING_FAILED


def _sentence(node: OkeNode, error: OkeError) -> str:
    return f"{node.availability_domain}: {_ended(error.message)}"


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith(".") else f"{sentence}."
