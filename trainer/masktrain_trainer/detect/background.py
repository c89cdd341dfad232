"""Work in threads that end with the process: a read that never returns holds nobody up who wants to leave.

An executor's threads would be waited for, at its end and at the interpreter's.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any, Final, TypeVar

T = TypeVar("T")

PATIENCE_SECONDS: Final = 10.0
"""Longer than a batch takes that is being computed, and as long as a live stream's reads may block."""


def in_background(call: Callable[[], T], name: str) -> "Future[T]":
    future: Future[T] = Future()

    def run() -> None:
        future.set_running_or_notify_cancel()
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            future.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return future


def leave(*work: "Future[Any]", seconds: float = PATIENCE_SECONDS) -> Sequence["Future[Any]"]:
    """Wait for what was told to stop, so long and no longer. Gives what has ended."""
    done, _ = wait(work, seconds)
    return [each for each in work if each in done]
