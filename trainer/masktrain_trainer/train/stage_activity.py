"""Whether a stage such as a download still does anything, seen from outside: a stuck process uses no CPU."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

_LOOK_SECONDS = 2.0


def cpu_ticks(pid: int, processes: Path = Path("/proc")) -> int | None:
    """CPU time of a process and its finished children, in clock ticks (fields 14 to 17 of proc_pid_stat(5))."""
    try:
        fields = (
            (processes / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    return sum(int(field) for field in fields[11:15])


async def wait_for_idleness(pid: int, limit_seconds: float, clock: Callable[[], float] = time.monotonic) -> float:
    """Return the seconds without work once they exceed the limit."""
    ticks, since = cpu_ticks(pid), clock()
    while clock() - since <= limit_seconds:
        await asyncio.sleep(_LOOK_SECONDS)
        if (now := cpu_ticks(pid)) != ticks:
            ticks, since = now, clock()
    return clock() - since
