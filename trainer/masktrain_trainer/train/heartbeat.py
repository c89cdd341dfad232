"""A step counter in shared memory: written by a worker without a system call, watched by the supervisor."""

import mmap
import struct
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from types import TracebackType

_LAYOUT = struct.Struct("<QQQ")


class Activity(IntEnum):
    STARTING = 0
    TRAINING = 1
    VALIDATING = 2
    SAVING = 3


@dataclass(frozen=True)
class Beat:
    """`counter` grows with every batch, of whatever activity; `at` is monotonic seconds."""

    counter: int
    activity: Activity
    at: float


class Heartbeat:
    """The writer's side.."""

    def __init__(self, path: Path) -> None:
        path.write_bytes(bytes(_LAYOUT.size))
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
    if len(content) < _LAYOUT.size:
        return None
    counter, activity, nanoseconds = _LAYOUT.unpack(content)
    return Beat(counter, Activity(activity), nanoseconds / 1e9)
