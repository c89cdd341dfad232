"""What a rank shows the supervisor that watches it: a counter in shared memory, and its stacks when it is asked.

The counter is written without a system call, and the stacks by faulthandler, which works even when a rank is stuck in a
collective, because its handler runs no Python code. Needs no torch.
"""

import faulthandler
import mmap
import os
import signal
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType

from .run_directory import RunDirectory

RENDEZVOUS_TIMEOUT_SECONDS = 1800
"""How long pods wait for each other: as long as the slowest pod may take to fetch the data set."""
STACK_SIGNAL = signal.SIGUSR1
"""torchrun handles SIGTERM, SIGINT and the like itself; this one it leaves to its workers."""
_LAYOUT = struct.Struct("<QQQ")
"""Counter, activity, monotonic nanoseconds. Written without a lock: only a change of the counter is ever looked at."""
_LEAST_START_SECONDS = 600
"""Importing torch, loading weights and starting the loader take minutes where disk and image are cold."""
_LEAST_VALIDATION_SECONDS = 600
"""Rank 0 computes the metrics of all ranks alone, and beats no more meanwhile."""


class Activity(IntEnum):
    STARTING = 0
    TRAINING = 1
    VALIDATING = 2
    SAVING = 3


@dataclass(frozen=True)
class Beat:
    """`counter` grows with every batch, of whatever activity; `at` is monotonic seconds."""

    counter: int
    activity: Activity
    at: float


class Heartbeat:
    """The worker's side: it costs a step no more than a few stores to memory."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_LAYOUT.size))  # its whole length at once: what is not there cannot be mapped
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _LAYOUT.size)
        self._counter = 0

    def beat(self, activity: Activity) -> None:
        self._counter += 1
        _LAYOUT.pack_into(self._memory, 0, self._counter, activity, time.monotonic_ns())

    def close(self) -> None:
        self._memory.close()

    def __enter__(self) -> "Heartbeat":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_heartbeat(path: Path) -> Beat | None:
    """The last beat, or None before the worker has created its file."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _LAYOUT.size:
        return None
    counter, activity, nanoseconds = _LAYOUT.unpack(content)
    return Beat(counter, Activity(activity), nanoseconds / 1e9)


@dataclass(frozen=True)
class HangLimits:
    """Seconds without a beat after which a rank counts as hung. Activity `None` is the rendezvous, before any beat."""

    training: float

    def of(self, activity: Activity | None) -> float:
        slower = {
            None: RENDEZVOUS_TIMEOUT_SECONDS + 60,  # torchrun gives up first
            Activity.STARTING: max(self.training, _LEAST_START_SECONDS),
            Activity.VALIDATING: max(2 * self.training, _LEAST_VALIDATION_SECONDS),
            Activity.SAVING: max(2 * self.training, _LEAST_VALIDATION_SECONDS),
        }
        return slower.get(activity, self.training)


def register_stack_dump(run: RunDirectory, local_rank: int) -> None:
    """In a worker: on SIGUSR1 write all threads' stacks to a file. The file stays open for the process's life."""
    file = run.stacks(local_rank).open("w", encoding="utf-8")
    faulthandler.register(STACK_SIGNAL, file=file, all_threads=True)
    run.worker_pid(local_rank).write_text(str(os.getpid()), encoding="ascii")
