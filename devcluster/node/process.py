"""The process behind a container: start it, know it, end it, and keep its log in the format that kubelet reads."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

# containerd's own limit; the kubelet puts the parts of a line together again.
LONGEST_CHUNK = 16 * 1024

# Without site-packages: the launcher needs the standard library only, and starts in a third of the time.
CONTAINER_PROGRAM = (sys.executable, "-S", "-m", "devcluster.node.container")
NO_TERMINAL = "0"


class ContainerLog:
    """One log file that two streams write to; kubelet may rotate it at any time."""

    def __init__(self, path: Path) -> None:
        """Open or continue the file at `path`."""
        self.path = path
        self._lock = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def reopen(self) -> None:
        """Continue in a new file after a rotation."""
        with self._lock:
            self._file.close()
            self._file = self.path.open("ab", buffering=0)

    def close(self) -> None:
        """No more lines come."""
        with self._lock:
            self._file.close()

    def follow(self, stream: IO[bytes], name: str) -> None:
        """Copy `stream` to its end; longer lines go out in parts, marked P until the last."""
        while chunk := stream.readline(LONGEST_CHUNK):
            partial = not chunk.endswith(b"\n") and len(chunk) == LONGEST_CHUNK
            self._write(chunk.rstrip(b"\n"), name, b"P" if partial else b"F")
        stream.close()

    def _write(self, text: bytes, name: str, tag: bytes) -> None:
        line = b" ".join((_timestamp(time.time_ns()), name.encode(), tag, text)) + b"\n"
        with self._lock:
            self._file.write(line)


def _timestamp(nanoseconds: int) -> bytes:
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime(f"%Y-%m-%dT%H:%M:%S.{fraction:09d}Z", time.gmtime(seconds)).encode()


class StartError(RuntimeError):
    """The container's program could not be started; the message says why."""


class ContainerProcess:
    """A running or ended shim with the container's PID 1 below it."""

    def __init__(self, spec: Path, log: ContainerLog, on_exit: Callable[[int], None]) -> None:
        """Start the container of `spec`; `on_exit` gets the exit code after the last log line was written."""
        reader, writer = os.pipe()
        command = [*CONTAINER_PROGRAM, "launch", str(spec), str(writer)]
        self._shim = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(writer,),
            start_new_session=True,
        )
        # The shim holds the only other end then, so that reading ends with it.
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
            # It may end between the question and the signal.
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
        # A child of the container may hold the pipes open longer than PID 1 lives; its last lines belong to the log.
        for follower in followers:
            follower.join()
        log.close()
        # Before `exited`: whoever waits for that reads the exit code next.
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
    command = [*CONTAINER_PROGRAM, "enter", str(folder), NO_TERMINAL, "--", *argv]
    return subprocess.run(command, capture_output=True, timeout=timeout, check=False)
