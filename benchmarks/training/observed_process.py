"""A program run as its user would run it, with the time at which it printed every line."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

LINE_ENDS = re.compile(rb"[\r\n]+")
PATIENCE_SECONDS = 20.0


@dataclass(frozen=True)
class Line:
    at: float
    """Monotonic seconds."""
    text: str


class ProgramFailed(RuntimeError):
    """Carries the end of what the program printed."""


def run_observed(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, seconds: float | None = None
) -> list[Line]:
    """All lines of standard output and error together; progress bars give one for each refresh.

    After `seconds` the program is ended, which is then no failure. Raises ProgramFailed for any exit code but 0.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command,
        env=dict(environment),
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    lines: list[Line] = []
    try:
        for line in _lines(process):
            lines.append(line)
            if seconds is not None and line.at - started > seconds:
                return lines
        code = process.wait()
    finally:
        _end(process)
    if code:
        raise ProgramFailed("\n".join([f"{command[0]} ended with exit code {code}:", *(_last_words(lines))]))
    return lines


def _lines(process: subprocess.Popen[bytes]) -> Iterator[Line]:
    assert process.stdout is not None
    unfinished = b""
    while chunk := os.read(process.stdout.fileno(), 65536):
        now = time.monotonic()
        *complete, unfinished = LINE_ENDS.split(unfinished + chunk)
        yield from (Line(now, text.decode(errors="replace")) for text in complete if text)


def _end(process: subprocess.Popen[bytes]) -> None:
    """With all it started: they share its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        os.killpg(process.pid, number)
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
    if process.stdout is not None:
        process.stdout.close()


def _last_words(lines: Sequence[Line]) -> list[str]:
    return [line.text for line in lines[-20:]]
