"""The process behind a container: start it, know it, end it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

from tests.devcluster.cri.container_log import ContainerLog

# Without site-packages: the launcher needs the standard library only, and starts in a third of the time.
PYTHON = (sys.executable, "-S", "-m")
ENTER = (*PYTHON, "tests.devcluster.container.enter")
NO_TERMINAL = "0"


class StartError(RuntimeError):
    """The container's program could not be started; the message says why."""


class ContainerProcess:
    """A running or ended shim with the container's PID 1 below it."""

    def __init__(self, spec: Path, log: ContainerLog, on_exit: Callable[[int], None]) -> None:
        """Start the container of `spec`; `on_exit` gets the exit code after the last log line was written."""
        reader, writer = os.pipe()
        command = [*PYTHON, "tests.devcluster.container.launch", str(spec), str(writer)]
        self._shim = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
            start_new_session=True,
        )
        os.close(writer)
        self.log = log
        self.pid, problem = _first_words(reader)
        self.exited = threading.Event()
        followers = [_follower(log, self._shim.stdout, "stdout"), _follower(log, self._shim.stderr, "stderr")]
        threading.Thread(target=self._wait, args=(followers, log, on_exit), daemon=True).start()
        if problem:
            self.exited.wait()
            raise StartError(problem)

    def send_signal(self, number: int) -> None:
        """Send a signal to the container's PID 1."""
        if self.pid and not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def stop(self, grace_seconds: float, stop_signal: int = signal.SIGTERM) -> None:
        """Ask, wait, then kill; returns when the process is gone."""
        if grace_seconds > 0:
            self.send_signal(stop_signal)
            self.exited.wait(grace_seconds)
        self.send_signal(signal.SIGKILL)
        self.exited.wait()

    def _wait(self, followers: list[threading.Thread], log: ContainerLog, on_exit: Callable[[int], None]) -> None:
        code = self._shim.wait()
        for follower in followers:
            follower.join()
        log.close()
        on_exit(code if code >= 0 else 128 - code)
        self.exited.set()


def _first_words(reader: int) -> tuple[int, str]:
    """Process id and error that the launcher reports; the pipe ends when the container's own program has started."""
    pid, problem = 0, ""
    with os.fdopen(reader) as lines:
        for line in lines:
            message = json.loads(line)
            pid, problem = message.get("pid", pid), message.get("error", problem)
    return pid, problem


def _follower(log: ContainerLog, stream: IO[bytes] | None, name: str) -> threading.Thread:
    thread = threading.Thread(target=log.follow, args=(stream, name), daemon=True)
    thread.start()
    return thread


def run_inside(folder: Path, argv: list[str], timeout: float | None) -> "subprocess.CompletedProcess[bytes]":
    """Run a further program in the container of `folder`. Raises TimeoutExpired, after having killed it."""
    command = [*ENTER, str(folder), NO_TERMINAL, "--", *argv]
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False)
