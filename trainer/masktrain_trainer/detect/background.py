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


class Work(Future[T]):
    """`thread`: that does it, and ends a moment after the result is there."""

    def __init__(self, call: Callable[[], T], name: str) -> None:
        super().__init__()
        self._call = call
        self.thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        self.set_running_or_notify_cancel()
        try:
            self.set_result(self._call())
        except BaseException as error:  # noqa: BLE001 - whoever asks for the result gets it
            self.set_exception(error)


def in_background(call: Callable[[], T], name: str) -> Work[T]:
    work = Work(call, name)
    work.thread.start()
    return work


def leave(*work: Work[Any], seconds: float = PATIENCE_SECONDS) -> Sequence[Work[Any]]:
    """Wait for what was told to stop, so long and no longer. Gives what has ended."""
    wait(work, seconds)
    ended = [each for each in work if each.done()]
    for each in ended:
        each.thread.join()
    return ended
