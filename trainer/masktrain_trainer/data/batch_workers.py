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

import numpy as np

from .batch_worker import Request, Samples, map_slots
from .dataset import TrainDataset

BATCHES_AHEAD = 2
"""Batches that every worker makes in advance, besides the one it hands over."""


class LoaderDied(RuntimeError):
    """A worker process ended unasked, most likely killed for want of memory."""


class BatchWorkers:
    """Worker processes that answer requests in order, a few batches ahead."""

    def __init__(self, dataset: TrainDataset, *, workers: int, batch_images: int) -> None:
        shape = (BATCHES_AHEAD + 1, batch_images, 3, dataset.image_size, dataset.image_size)
        self._workers = [_Worker(dataset, shape) for _ in range(workers)]
        self._stop = weakref.finalize(self, _stop_all, self._workers)

    def answers(self, requests: Iterator[Request]) -> Iterator[Samples]:
        """The batches that are asked for; pixels are valid until the next one is. One stream at a time, to its end."""
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

    def __init__(self, dataset: TrainDataset, shape: tuple[int, ...]) -> None:
        self._pipe, remote = Pipe()
        memory = os.memfd_create("masktrain-batches")
        os.truncate(memory, int(np.prod(shape)))
        command = [sys.executable, "-m", "masktrain_trainer.data.batch_worker", str(remote.fileno()), str(memory)]
        self._process = subprocess.Popen(
            command,
            pass_fds=(remote.fileno(), memory),
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a terminal's Ctrl-C is for the trainer
        )
        self._slots = map_slots(memory, shape)
        os.close(memory)
        remote.close()
        self._pipe.send((dataset, shape))

    def ask(self, request: Request, slot: int) -> None:
        try:
            self._pipe.send((request, slot))
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def answer(self, slot: int) -> Samples:
        try:
            answer = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if isinstance(answer, Exception):
            raise answer
        return Samples(self._slots[slot], *answer)

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
