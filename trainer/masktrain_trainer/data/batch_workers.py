"""Processes that make training batches: the trainer's side, and the program that they run.

    python -m masktrain_trainer.data.batch_workers PIPE MEMORY

PIPE and MEMORY are inherited file descriptors: pixels go back through MEMORY, the rest through PIPE, whose end also
ends the process. It never imports torch, so it starts in a fraction of a second and stays small. Workers are started
afresh, not forked: forking a process that runs CUDA or communication threads is not safe, and `spawn` would load torch
into each. Their memory is anonymous, so the size of /dev/shm does not limit it.
"""

from __future__ import annotations

import itertools
import mmap
import os
import signal
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing import Pipe
from multiprocessing.connection import Connection

import cv2
import numpy as np

from .dataset import BatchRequest, CollatedBatch, Collator, Pixels


def map_slots(memory: int, slots: int, size: int) -> list[Pixels]:
    """The shared memory behind a file descriptor as `slots` arrays of `size` bytes."""
    return list(map_memory(memory, slots * size).reshape(slots, size))


def map_memory(memory: int, size: int) -> Pixels:
    return np.frombuffer(mmap.mmap(memory, size), np.uint8)


def serve(pipe: Connection, memory: int) -> None:
    """Receive (collator, slots, bytes of a slot), then answer (request, slot) until the other end is closed.

    An answer is the batch without its pixels, which are in the slot, or the exception that prevented it.
    """
    try:
        collator, count, size = pipe.recv()
        slots = map_slots(memory, count, size)
        while True:
            request, slot = pipe.recv()
            pipe.send(_answer(collator, request, slots[slot]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(collator: Collator, request: BatchRequest, pixels: Pixels) -> CollatedBatch | Exception:
    try:
        return collator.collate(request, pixels)
    # The trainer raises it; of a worker that died of it, only an exit code would be known.
    except Exception as error:  # noqa: BLE001
        return error


def main() -> None:
    """Signals are for the trainer, which ends its workers itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    # There is a worker for each core: OpenCV's own threads would only fight them for it.
    cv2.setNumThreads(0)
    pipe, memory = map(int, sys.argv[1:])
    serve(Connection(pipe), memory)


BATCHES_AHEAD = 2
"""Batches that every worker makes in advance, besides the one it hands over."""
MANY_WORKERS = 8
"""More of them have enough batches in store with one each, and a batch may be tens of megabytes of pinned memory."""


class LoaderDied(RuntimeError):
    """A worker process ended unasked, most likely killed for want of memory."""


class BatchWorkers:
    """Worker processes that answer requests in order, a few batches ahead."""

    def __init__(self, collator: Collator, *, workers: int, batch_images: int) -> None:
        size = collator.bytes_for(batch_images)
        self._slots = 1 + (BATCHES_AHEAD if workers <= MANY_WORKERS else 1)
        self._workers = [_Worker(collator, self._slots, size) for _ in range(workers)]
        # Also where nobody calls `close`: finalizers run at the interpreter's end, too.
        self._stop = weakref.finalize(self, _stop_all, self._workers)

    def answers(self, requests: Iterator[BatchRequest]) -> Iterator[tuple[Pixels, CollatedBatch]]:
        """The batches that are asked for, each after the pixels that it uses, which are valid until the next is asked
        for. One stream at a time, to its end.
        """
        # By slot first, so that the first requests go to one worker each.
        places = [(worker, slot) for slot in range(self._slots) for worker in self._workers]
        asked = deque[tuple[_Worker, int]]()
        for (worker, slot), request in zip(places, requests, strict=False):
            worker.ask(request, slot)
            asked.append((worker, slot))
        while asked:
            worker, slot = asked.popleft()
            yield worker.answer(slot)
            # Only now: the batch just used lies in the slot that the next one is written to.
            for request in itertools.islice(requests, 1):
                worker.ask(request, slot)
                asked.append((worker, slot))

    @property
    def memories(self) -> list[Pixels]:
        """All memory that answers' pixels may lie in."""
        return [worker.memory for worker in self._workers]

    def close(self) -> None:
        """End the processes; work in progress is dropped."""
        self._stop()


class _Worker:
    """One process, the trainer's end of its pipe, and the memory shared with it."""

    def __init__(self, collator: Collator, slots: int, size: int) -> None:
        self._pipe, remote = Pipe()
        # Anonymous: /dev/shm is limited in pods, and a file with a name would outlive a killed trainer.
        memory = os.memfd_create("masktrain-batches")
        os.truncate(memory, slots * size)
        command = [sys.executable, "-m", "masktrain_trainer.data.batch_workers", str(remote.fileno()), str(memory)]
        self._process = subprocess.Popen(
            command,
            pass_fds=(remote.fileno(), memory),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the trainer
        )
        self.memory = map_memory(memory, slots * size)
        self._slots = list(self.memory.reshape(slots, size))
        # The map keeps the memory; the number is of no more use here.
        os.close(memory)
        # Only the worker holds this end from now on, or its death would not end the pipe.
        remote.close()
        self._pipe.send((collator, slots, size))

    def ask(self, request: BatchRequest, slot: int) -> None:
        try:
            self._pipe.send((request, slot))
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def answer(self, slot: int) -> tuple[Pixels, CollatedBatch]:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if isinstance(answer, Exception):
            raise answer
        return self._slots[slot][: answer.used], answer

    def hang_up(self) -> None:
        self._pipe.close()

    def wait(self) -> None:
        self._process.wait()

    def _died(self) -> LoaderDied:
        return LoaderDied(
            f"A data loader process ended with exit code {self._process.wait()}; -9 means that the pod's memory limit "
            "was reached: raise it or set fewer training.workers."
        )


def _stop_all(workers: list[_Worker]) -> None:
    # All of them first, so that they end side by side.
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.wait()


if __name__ == "__main__":
    main()
