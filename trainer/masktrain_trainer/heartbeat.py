"""The ranks' heartbeats, and the supervisor that watches them: what hangs, and where it is stuck.

A rank shows a counter in shared memory, written without a system call, and its stacks when it is asked, by
faulthandler, which works even when the rank is stuck in a collective, because its handler runs no Python code. Limits
differ with what a rank is doing: one that waits in a collective for a slower one makes no progress either, so each
limit allows for the slowest rank. Needs no torch.
"""

import asyncio
import contextlib
import faulthandler
import mmap
import os
import re
import signal
import struct
import time
from collections.abc import Callable, Iterable, Mapping
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


_LOOK_SECONDS = 1.0
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')
_OWN_PACKAGE = "masktrain_trainer"


class Activity(IntEnum):
    STARTING = 0
    TRAINING = 1
    VALIDATING = 2
    SAVING = 3
    CONNECTING = 4
    """With the other ranks, after the pods have come together: each opens connections to the others' ports."""


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
    # The worker may be between making the file and filling it.
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
            Activity.CONNECTING: max(self.training, _LEAST_START_SECONDS),
            Activity.STARTING: max(self.training, _LEAST_START_SECONDS),
            Activity.VALIDATING: max(2 * self.training, _LEAST_VALIDATION_SECONDS),
            Activity.SAVING: max(2 * self.training, _LEAST_VALIDATION_SECONDS),
        }
        return slower.get(activity, self.training)


def register_stack_dump(run: RunDirectory, local_rank: int) -> None:
    """In a worker: on SIGUSR1 write all threads' stacks to a file. The file stays open for the process's life."""
    file = run.stacks(local_rank).open("w", encoding="utf-8")
    faulthandler.register(STACK_SIGNAL, file=file, all_threads=True)
    # After the handler stands: whoever reads the number may send the signal at once, and its default is death.
    run.worker_pid(local_rank).write_text(str(os.getpid()), encoding="ascii")


@dataclass(frozen=True)
class Hang:
    local_rank: int
    activity: Activity | None
    seconds: float

    def __str__(self) -> str:
        names = {None: "waiting for the other pods", Activity.CONNECTING: "connecting with the other ranks"}
        doing = names.get(self.activity) or str(self.activity and self.activity.name.lower())
        return f"local rank {self.local_rank} has stood still for {self.seconds:.0f} s while {doing}"


class HangDetector:
    """Pure but for what it remembers: the last change of each rank's counter, by the caller's clock."""

    def __init__(self, limits: HangLimits, local_ranks: Iterable[int], now: float) -> None:
        self._limits = limits
        self._seen: dict[int, tuple[Beat | None, float]] = dict.fromkeys(local_ranks, (None, now))

    def observe(self, beats: Mapping[int, Beat | None], now: float) -> None:
        for rank, beat in beats.items():
            known, _ = self._seen[rank]
            if beat is not None and (known is None or beat.counter != known.counter):
                self._seen[rank] = (beat, now)

    def longest_hang(self, now: float) -> Hang | None:
        """The rank that has stood still longest among those over their limit."""
        over = [found for rank in self._seen if (found := self._over_limit(rank, now))]
        # Who stopped first is nearest to the cause: the others only wait for it.
        return max(over, key=lambda found: found.seconds, default=None)

    def _over_limit(self, rank: int, now: float) -> Hang | None:
        beat, since = self._seen[rank]
        activity = beat.activity if beat else None
        return Hang(rank, activity, now - since) if now - since > self._limits.of(activity) else None


async def wait_for_hang(
    run: RunDirectory, local_ranks: Iterable[int], limits: HangLimits, clock: Callable[[], float] = time.monotonic
) -> Hang:
    """Return only if a rank hangs."""
    ranks = list(local_ranks)
    detector = HangDetector(limits, ranks, clock())
    while True:
        detector.observe({rank: read_heartbeat(run.heartbeat(rank)) for rank in ranks}, clock())
        if found := detector.longest_hang(clock()):
            return found
        await asyncio.sleep(_LOOK_SECONDS)


def signal_workers(run: RunDirectory, local_ranks: Iterable[int], number: signal.Signals) -> None:
    for rank in local_ranks:
        # A worker that never started has no file, one that has just started may not have written its number yet.
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError):
            os.kill(int(run.worker_pid(rank).read_text(encoding="ascii")), number)


def read_stacks(run: RunDirectory, local_rank: int) -> str:
    with contextlib.suppress(FileNotFoundError):
        return run.stacks(local_rank).read_text(encoding="utf-8", errors="replace")
    return ""


def innermost_own_frame(stacks: str) -> str | None:
    """The innermost frame of our own code in the thread that took the signal, as `loop.py:120 train_step`.

    The innermost frame of all is the same collective for every hung run; ours says which one.
    """
    current = stacks.partition("Current thread")[2] or stacks
    thread = re.split(r"\n\s*\nThread ", current)[0]
    frames = list(_FRAME.finditer(thread))  # the most recent call first, unlike in a traceback
    own = [frame for frame in frames if _OWN_PACKAGE in frame["file"]]
    chosen = (own or frames)[:1]
    return next((f"{frame['file'].rpartition('/')[2]}:{frame['line']} {frame['function']}" for frame in chosen), None)
