"""Processes and signals of PID 1: children in sessions of their own, adopted orphans, and the kubelet's SIGTERM."""

import asyncio
import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChildProcess:
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
            os.killpg(self.pid, number)

    def signal(self, number: signal.Signals) -> None:
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
            self.kill()

    def kill(self) -> None:
        """Also what outlived the child itself in its session's process group."""
        self.signal_group(signal.SIGKILL)


def explain_exit(code: int) -> str:
    """`exit code 1`, `signal 9 (SIGKILL), often the kernel ending it for want of memory`."""
    if code >= 0:
        return f"exit code {code}"
    name = signal.Signals(-code).name
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
