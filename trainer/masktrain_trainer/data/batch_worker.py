"""One process that makes training batches: `python -m masktrain_trainer.data.batch_worker PIPE MEMORY`.

PIPE and MEMORY are inherited file descriptors. The process never imports torch, so it starts in a fraction of a second
and stays small: pixels go back through MEMORY, the rest through PIPE, whose end also ends the process.
"""

from __future__ import annotations

import mmap
import signal
import sys
from multiprocessing.connection import Connection

import cv2
import numpy as np

from .batch_maker import BatchMaker, Made, Pixels, Request


def map_slots(memory: int, slots: int, size: int) -> list[Pixels]:
    """The shared memory behind a file descriptor as `slots` arrays of `size` bytes."""
    flat = np.frombuffer(mmap.mmap(memory, slots * size), np.uint8)
    return list(flat.reshape(slots, size))


def serve(pipe: Connection, memory: int) -> None:
    """Receive (maker, slots, bytes of a slot), then answer (request, slot) until the other end is closed.

    An answer is the batch without its pixels, which are in the slot, or the exception that prevented it.
    """
    try:
        maker, count, size = pipe.recv()
        slots = map_slots(memory, count, size)
        while True:
            request, slot = pipe.recv()
            pipe.send(_answer(maker, request, slots[slot]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(maker: BatchMaker, request: Request, pixels: Pixels) -> Made | Exception:
    try:
        return maker.make(request, pixels)
    except Exception as error:
        return error


def main() -> None:
    """Signals are for the trainer, which ends its workers itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    pipe, memory = map(int, sys.argv[1:])
    serve(Connection(pipe), memory)


if __name__ == "__main__":
    main()
