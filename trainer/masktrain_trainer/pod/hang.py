"""Noticing that a training or a stage before it no longer does anything, and where its ranks are stuck.

Ranks are watched by their heartbeats, with limits that differ with what a rank is doing: one that waits in a collective
for a slower one makes no progress either, so each limit allows for the slowest rank. Stages such as a download have no
heartbeat and are watched by their CPU time.
"""

import asyncio
import contextlib
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.heartbeat import Activity, Beat, HangLimits, read_heartbeat
from masktrain_trainer.run_directory import RunDirectory

_LOOK_SECONDS = 1.0
_STAGE_LOOK_SECONDS = 2.0
_FRAME = re.compile(r'File "(?P<file>[^"]+)", line (?P<line>\d+) in (?P<function>\S+)')
_OWN_PACKAGE = "masktrain_trainer"


@dataclass(frozen=True)
class Hang:
    local_rank: int
    activity: Activity | None
    seconds: float

    def __str__(self) -> str:
        doing = "waiting for the other pods" if self.activity is None else self.activity.name.lower()
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


def cpu_ticks(pid: int, processes: Path = Path("/proc")) -> int | None:
    """CPU time of a process and its finished children, in clock ticks (fields 14 to 17 of proc_pid_stat(5))."""
    try:
        fields = (
            (processes / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return sum(int(field) for field in fields[11:15])


async def wait_for_idle(pid: int, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> float:
    """Return the seconds without work once they exceed the limit.

    CPU time and not output or a file's size: every stage hashes or decodes what it gets, and one that waits for a dead
    socket does neither.
    """
    ticks, since = cpu_ticks(pid), clock()
    while clock() - since <= limit_seconds:
        await asyncio.sleep(_STAGE_LOOK_SECONDS)
        if (now := cpu_ticks(pid)) != ticks:
            ticks, since = now, clock()
    return clock() - since


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
