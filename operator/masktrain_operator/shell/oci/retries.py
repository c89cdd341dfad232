"""How long the SDK may try by itself: little, because whoever asked comes back anyway, with a fresher view."""

from typing import Any

from oci.circuit_breaker import CircuitBreakerStrategy
from oci.retry import BACKOFF_DECORRELATED_JITTER_VALUE, RetryStrategyBuilder

TIMEOUTS_SECONDS = (5.0, 20.0)
"""Of the connection, and of each read from it."""
ATTEMPTS = 3
LAST_RETRY_SECONDS = 8
FAILING_SERVICE: dict[int, list[str]] = {429: [], 500: [], 502: [], 503: [], 504: []}
"""Unlike the SDK's default without 409: a pool that is busy for minutes says nothing about the service."""


def retry_strategy() -> Any:
    """Again after timeouts, lost connections, 429 and 5xx, with jitter, while less than 8 s have gone by."""
    return RetryStrategyBuilder(
        max_attempts=ATTEMPTS,
        total_elapsed_time_seconds=LAST_RETRY_SECONDS,
        service_error_retry_config={429: []},
        service_error_retry_on_any_5xx=True,
        retry_base_sleep_time_seconds=0.5,
        retry_exponential_growth_factor=2,
        retry_max_wait_between_calls_seconds=4,
        decorrelated_jitter=1,
        backoff_type=BACKOFF_DECORRELATED_JITTER_VALUE,
    ).get_retry_strategy()


def circuit_breaker() -> CircuitBreakerStrategy:
    """Ten failures in a row keep the next calls of that client at home for half a minute."""
    return CircuitBreakerStrategy(failure_threshold=10, recovery_timeout=30, failure_statuses_and_codes=FAILING_SERVICE)
