"""Container logs in the format that kubelet reads: `<RFC 3339 with nanoseconds> stdout F <line>`."""

import threading
import time
from pathlib import Path
from typing import IO

LONGEST_CHUNK = 16 * 1024


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
