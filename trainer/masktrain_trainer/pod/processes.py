"""Processes and signals of PID 1: children in sessions of their own, adopted orphans, and the kubelet's SIGTERM.

Ranks are watched by their heartbeats; stages such as a download have none and are watched by their CPU time.
"""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from masktrain_trainer.checkpoint.spool import UploaderExit

log = logging.getLogger(__name__)

_STAGE_LOOK_SECONDS = 2.0


@dataclass(frozen=True)
class ChildProcess:
    """A process in a session of its own, so that ending it ends all that it started."""

    name: str
    process: asyncio.subprocess.Process

    @classmethod
    async def start(
        cls, name: str, command: Sequence[str], environment: Mapping[str, str], *, commanded: bool = False
    ) -> "ChildProcess":
        """`commanded` children read orders from their standard input; the others find it closed."""
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environment),
            stdin=asyncio.subprocess.PIPE if commanded else asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        log.debug("started %s as process %d", name, process.pid)
        return cls(name, process)

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def ended(self) -> bool:
        return self.process.returncode is not None

    async def wait(self) -> int:
        """The exit code; minus the signal's number if a signal ended it."""
        return await self.process.wait()

    async def order(self, word: str) -> None:
        """Write one line to its standard input; a child that has just died is no error, its exit code will tell."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.process.stdin.write(f"{word}\n".encode())
            await self.process.stdin.drain()

    def signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            # It leads a session of its own, so its number is that of its group.
            os.killpg(self.pid, number)

    def signal(self, number: signal.Signals) -> None:
        # Once it is collected, its number may be another process's.
        if not self.ended:
            self.process.send_signal(number)

    async def end(self, patience_seconds: float) -> int:
        """Ask with SIGTERM, insist with SIGKILL."""
        self.signal(signal.SIGTERM)
        try:
            return await asyncio.wait_for(self.wait(), patience_seconds)
        except TimeoutError:
            self.kill()
            return await self.wait()
        finally:
            self.kill()  # what it started may outlive its tidy end

    def kill(self) -> None:
        """Also what outlived the child itself in its session's process group."""
        self.signal_group(signal.SIGKILL)


async def race(
    *contenders: asyncio.Task[Any] | Coroutine[Any, Any, Any],
) -> tuple[set[asyncio.Task[Any]], set[asyncio.Task[Any]]]:
    """Wait for the first of several and cancel the others."""
    tasks = [asyncio.ensure_future(contender) for contender in contenders]
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    return done, pending


def explain_exit(code: int) -> str:
    """`exit code 1`, `signal 9 (SIGKILL), often the kernel ending it for want of memory`."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
    # The kernel's out-of-memory killer leaves no other trace in an exit code.
    hint = ", often the kernel ending it for want of memory" if name == "SIGKILL" else ""
    return f"signal {-code} ({name}){hint}"


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


class StopRequest:
    """Set by the first SIGTERM or SIGINT; later ones change nothing, because the grace runs from the first."""

    def __init__(self, grace_seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._event = asyncio.Event()
        self._deadline = float("inf")

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        # By the loop: asyncio's events may not be set from a signal handler of Python's own.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request)

    def request(self) -> None:
        if not self._event.is_set():
            self._deadline = self._clock() + self._grace_seconds
            self._event.set()

    @property
    def requested(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        await self._event.wait()

    def seconds_left(self, *, reserve: float) -> float:
        """Seconds until `reserve` seconds before the kubelet kills the pod; infinite without a request."""
        return max(0.0, self._deadline - reserve - self._clock())


_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 30.0


class Order(StrEnum):
    DRAIN = "drain"
    """Upload what waits, then end."""
    COMPLETE = "complete"
    """Also prove best.pt, publish the artifacts, clean up."""


class UploaderProcess:
    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._order: Order | None = None
        self._child: ChildProcess | None = None
        self._running = asyncio.create_task(self._keep_running())
        self.verdict: UploaderExit | None = None
        """Why it is not started again, once it is not."""

    async def given_up(self) -> None:
        """Return when it has ended for good. To be cancelled where that no longer matters."""
        # Whoever waits may be cancelled; the uploader goes on.
        await asyncio.shield(self._running)

    async def finish(self, order: Order, limit_seconds: float) -> bool:
        """Whether the order was carried out within the limit. The process has ended in any case."""
        self._order = order
        # One that is started later hears of it from `_run_once`.
        if self._child is not None and not self._child.ended:
            await self._child.order(order)
        try:
            # On a timeout this cancels the task too, or it would start again what is killed below.
            await asyncio.wait_for(self._running, limit_seconds)
        except TimeoutError:
            log.warning("the uploader could not %s within %.0f s", order, limit_seconds)
            return False
        finally:
            await self._kill()
        return self.verdict is UploaderExit.DONE

    async def abandon(self) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self._kill()

    async def _kill(self) -> None:
        if self._child is not None and not self._child.ended:
            self._child.kill()
            await self._child.wait()

    async def _keep_running(self) -> None:
        """Return once an order was carried out or cannot be; until then start the uploader again after every end."""
        pause = _FIRST_PAUSE_SECONDS
        while True:
            code = await self._run_once()
            if code in (UploaderExit.FENCED, UploaderExit.NOTHING_TO_PUBLISH) or (
                code == 0 and self._order is not None
            ):
                self.verdict = UploaderExit(code)
                return
            log.warning("the uploader ended with %s; starting it again in %.0f s", explain_exit(code), pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> int:
        self._child = await ChildProcess.start("uploader", self._command, self._environment, commanded=True)
        if self._order is not None:
            await self._child.order(self._order)
        return await self._child.wait()


def cpu_ticks(pid: int, processes: Path = Path("/proc")) -> int | None:
    """CPU time of a process and its finished children, in clock ticks (fields 14 to 17 of proc_pid_stat(5))."""
    try:
        fields = (
            (processes / str(pid) / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        )
    except OSError:
        return None
    # Two fields before the cut are gone, hence 11 for the fourteenth.
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
