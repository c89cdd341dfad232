"""A child process of the supervisor: started in a session of its own, so that ending it ends all it started."""

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
