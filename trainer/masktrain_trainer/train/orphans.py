"""Reaping as PID 1: processes whose parent died become ours, and stay zombies until somebody waits for them."""

import asyncio
import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

_SCAN_SECONDS = 5.0


async def reap_orphans(processes: Path = Path("/proc")) -> None:
    """Wait for zombies that were there at two scans in a row.

    asyncio collects the children it started within moments; what stays a zombie for a whole interval is nobody's.
    """
    before: set[int] = set()
    while True:
        zombies = set(zombie_children(processes, os.getpid()))
        for pid in zombies & before:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - WNOHANG never blocks
        before = zombies
        await asyncio.sleep(_SCAN_SECONDS)


def zombie_children(processes: Path, parent: int) -> Iterable[int]:
    for entry in processes.iterdir():
        if entry.name.isdecimal() and _state_and_parent(entry) == ("Z", str(parent)):
            yield int(entry.name)


def _state_and_parent(entry: Path) -> tuple[str, str]:
    """Fields 3 and 4 of proc_pid_stat(5); the name before them may hold spaces and brackets."""
    try:
        fields = (entry / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return "", ""
    return fields[0], fields[1]
