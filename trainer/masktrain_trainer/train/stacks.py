"""Where the ranks of a hung pod stand: faulthandler writes their stacks, the supervisor collects them.

faulthandler works even when a rank is stuck in a collective, because its handler runs no Python code.
"""

import contextlib
import faulthandler
import os
import re
import signal
from collections.abc import Iterable

from .run_directory import RunDirectory

STACK_SIGNAL = signal.SIGUSR1
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')
_OWN_PACKAGE = "masktrain_trainer"


def register_stack_dump(run: RunDirectory, local_rank: int) -> None:
    """In a worker: on SIGUSR1 write all threads' stacks to a file. The file stays open for the process's life."""
    file = run.stacks(local_rank).open("w", encoding="utf-8")
    faulthandler.register(STACK_SIGNAL, file=file, all_threads=True)
    run.worker_pid(local_rank).write_text(str(os.getpid()), encoding="ascii")


def signal_workers(run: RunDirectory, local_ranks: Iterable[int], number: signal.Signals) -> None:
    for rank in local_ranks:
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int(run.worker_pid(rank).read_text(encoding="ascii")), number)


def read_stacks(run: RunDirectory, local_rank: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return run.stacks(local_rank).read_text(encoding="utf-8", errors="replace")
    return ""


def telling_frame(stacks: str) -> str | None:
    """The innermost frame of our own code in the thread that took the signal, as `loop.py:120 train_step`.

    The innermost frame of all is the same collective for every hung run; ours says which one.
    """
    current = stacks.partition("Current thread")[2] or stacks
    thread = re.split(r"\n\s*\nThread ", current)[0]
    frames = list(_FRAME.finditer(thread))
    own = [frame for frame in frames if _OWN_PACKAGE in frame["file"]]
    chosen = (own or frames)[:1]
    return next((f"{frame['file'].rpartition('/')[2]}:{frame['line']} {frame['function']}" for frame in chosen), None)
