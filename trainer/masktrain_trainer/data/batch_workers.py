"""The trainer's side of the processes that make batches.

They are started afresh, not forked: forking a process that runs CUDA or communication threads is not safe, and `spawn`
would load torch into each. Their memory is anonymous, so the size of /dev/shm does not limit it. They end when the
trainer does, however it does.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import weakref
from collections import deque
from collections.abc import Iterator
from multiprocessing import Pipe

from .batch_maker import BatchMaker, Made, Pixels, Request
from .batch_worker import map_slots

BATCHES_AHEAD = 2
"""Batches that every worker makes in advance, besides the one it hands over."""


class LoaderDied(RuntimeError):
    """A worker process ended unasked, most likely killed for want of memory."""


class BatchWorkers:
    """Worker processes that answer requests in order, a few batches ahead."""

    def __init__(self, maker: BatchMaker, *, workers: int, batch_images: int) -> None:
        size = maker.bytes_for(batch_images)
        self._workers = [_Worker(maker, BATCHES_AHEAD + 1, size) for _ in range(workers)]
        self._stop = weakref.finalize(self, _stop_all, self._workers)

    def answers(self, requests: Iterator[Request]) -> Iterator[tuple[Pixels, Made]]:
        """The batches that are asked for, each after the pixels that it uses, which are valid until the next is asked
        for. One stream at a time, to its end.
        """
        places = [(worker, slot) for slot in range(BATCHES_AHEAD + 1) for worker in self._workers]
        asked = deque[tuple[_Worker, int]]()
        for (worker, slot), request in zip(places, requests, strict=False):
            worker.ask(request, slot)
            asked.append((worker, slot))
        while asked:
            worker, slot = asked.popleft()
            yield worker.answer(slot)
            for request in itertools.islice(requests, 1):
                worker.ask(request, slot)
                asked.append((worker, slot))

    def close(self) -> None:
        """End the processes; work in progress is dropped."""
        self._stop()


class _Worker:
    """One process, the trainer's end of its pipe, and the memory shared with it."""

    def __init__(self, maker: BatchMaker, slots: int, size: int) -> None:
        self._pipe, remote = Pipe()
        memory = os.memfd_create("masktrain-batches")
        os.truncate(memory, slots * size)
        command = [sys.executable, "-m", "masktrain_trainer.data.batch_worker", str(remote.fileno()), str(memory)]
        self._process = subprocess.Popen(
            command,
            pass_fds=(remote.fileno(), memory),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the trainer
        )
        self._slots = map_slots(memory, slots, size)
        os.close(memory)
        remote.close()
        self._pipe.send((maker, slots, size))

    def ask(self, request: Request, slot: int) -> None:
        try:
            self._pipe.send((request, slot))
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def answer(self, slot: int) -> tuple[Pixels, Made]:
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
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.wait()
