"""Waiting for something outside this process that offers no event to wait on."""

import time
from collections.abc import Callable

PAUSE_SECONDS = 0.05


class TimedOut(RuntimeError):  # reads as what happened
    """The awaited condition did not come; the message names it."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask `condition` again and again until it holds. Raises TimedOut after `seconds`."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimedOut(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(PAUSE_SECONDS)
