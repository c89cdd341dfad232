"""Waiting for something outside this process that offers no event to wait on."""

import time
from collections.abc import Callable

PAUSE_SECONDS = 0.05


class TimedOut(RuntimeError):  # reads as what happened
    """The awaited condition did not come; the message names it."""


def wait_until(condition: Callable[[], bool], what: str, seconds: float) -> None:
    """Ask `condition` again and again until it holds. Raises TimedOut after `seconds`.

    What is dear to ask, a kubectl for instance, is asked less often: waiting must not take the processor from those
    who are waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        asked = time.monotonic()
        if condition():
            return
        answered = time.monotonic()
        if answered > deadline:
            raise TimedOut(f"waited {seconds:.0f} s in vain for {what}")
        time.sleep(max(PAUSE_SECONDS, 2 * (answered - asked)))
