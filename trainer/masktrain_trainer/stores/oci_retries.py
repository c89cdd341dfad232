"""How long the SDK tries by itself: as long as for S3, because a checkpoint comes back anyway, with newer weights."""

from typing import Any, Final

from oci.retry import BACKOFF_DECORRELATED_JITTER_VALUE, RetryStrategyBuilder

TIMEOUTS_SECONDS: Final = (5.0, 60.0)
"""Of the connection, and of each read from it."""

_ATTEMPTS: Final = 4
_LONGEST_SECONDS: Final = 120


def retry_strategy() -> Any:
    """Again after timeouts, lost connections, 429 and 5xx, with jitter."""
    return RetryStrategyBuilder(
        max_attempts=_ATTEMPTS,
        total_elapsed_time_seconds=_LONGEST_SECONDS,
        service_error_retry_config={-1: [], 429: []},
        service_error_retry_on_any_5xx=True,
        retry_base_sleep_time_seconds=0.5,
        retry_exponential_growth_factor=2,
        retry_max_wait_between_calls_seconds=20,
        decorrelated_jitter=1,
        backoff_type=BACKOFF_DECORRELATED_JITTER_VALUE,
    ).get_retry_strategy()
