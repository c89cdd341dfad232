"""Processes that make training batches.

They never import torch, so they start in a fraction of a second and stay small: pixels come back through memory shared
with the trainer, the rest through a pipe. The pipe also ends them: when the trainer dies, however it dies, they read its
end. Started by a fork server, because forking a process that runs CUDA or collective-communication threads is not safe.
"""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.util import Finalize
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from .arrays import Image, Targets
from .dataset import TrainDataset

BATCHES_AHEAD = 2
"""Batches that every worker makes in advance, besides the one it hands over."""
STOP_FIRST = 10
"""Exit priority: before multiprocessing itself waits for its processes."""

Request = tuple[int, npt.NDArray[np.int64]]
"""Epoch, and the indices of the images of one rank's batch."""


@dataclass(frozen=True)
class Samples:
    """A batch before it becomes tensors."""

    images_BCHW: Image
    targets_M6: Targets
    """Position of the image in this batch, class, normalised centre box."""
    indices_B: npt.NDArray[np.int64]


class LoaderDied(RuntimeError):  # noqa: N818
    """A worker process ended unasked, most likely killed for want of memory."""


def make_samples(dataset: TrainDataset, request: Request) -> Samples:
    """Make the samples of one batch in this process."""
    epoch, indices = request
    samples = [dataset.sample(epoch, index) for index in indices.tolist()]
    return Samples(np.stack([image for image, _ in samples]), stack_targets([rows for _, rows in samples]), indices)


def stack_targets(targets: list[Targets]) -> Targets:
    """(M, 6) from the (N, 5) targets of each image: every row begins with its image's position."""
    positions = np.repeat(np.arange(len(targets), dtype=np.float32), [len(rows) for rows in targets])
    return np.column_stack([positions, np.concatenate(targets)])


class BatchWorkers:
    """Worker processes that answer requests in order, a few batches ahead."""

    def __init__(self, dataset: TrainDataset, *, workers: int, batch_images: int) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__])
        shape = (BATCHES_AHEAD + 1, batch_images, 3, dataset.image_size, dataset.image_size)
        self._workers = [_Worker(context, dataset, shape) for _ in range(workers)]
        self._stop = Finalize(self, _stop_all, args=(self._workers,), exitpriority=STOP_FIRST)

    def answers(self, requests: Iterator[Request]) -> Iterator[Samples]:
        """The batches of an endless stream of requests; pixels are valid until the next one is asked for."""
        places = deque((worker, slot) for slot in range(BATCHES_AHEAD + 1) for worker in self._workers)
        for worker, slot in places:
            worker.ask(next(requests), slot)
        while True:
            worker, slot = places[0]
            yield worker.answer(slot)
            worker.ask(next(requests), slot)
            places.rotate(-1)

    def close(self) -> None:
        """End the processes; work in progress is dropped."""
        self._stop()


class _Worker:
    """One process, the trainer's end of its pipe, and the memory shared with it."""

    def __init__(self, context: Any, dataset: TrainDataset, shape: tuple[int, ...]) -> None:
        buffer = context.RawArray("B", int(np.prod(shape)))
        self._slots: Image = np.frombuffer(buffer, np.uint8).reshape(shape)
        self._pipe, remote = context.Pipe()
        self._process = context.Process(target=_serve, args=(remote, dataset, buffer, shape), daemon=True)
        self._process.start()
        remote.close()

    def ask(self, request: Request, slot: int) -> None:
        try:
            self._pipe.send((request, slot))
        except BrokenPipeError:
            raise self._died() from None

    def answer(self, slot: int) -> Samples:
        try:
            targets_M6, indices_B = self._pipe.recv()
        except EOFError:
            raise self._died() from None
        if isinstance(targets_M6, BaseException):
            raise targets_M6
        return Samples(self._slots[slot], targets_M6, indices_B)

    def hang_up(self) -> None:
        self._pipe.close()

    def join(self) -> None:
        self._process.join()

    def _died(self) -> LoaderDied:
        self._process.join()
        return LoaderDied(
            f"A data loader process ended with exit code {self._process.exitcode}; -9 means that the pod's memory "
            "limit was reached: raise it or set fewer training.workers."
        )


def _stop_all(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.hang_up()
    for worker in workers:
        worker.join()


def _serve(pipe: Connection, dataset: TrainDataset, buffer: Any, shape: tuple[int, ...]) -> None:
    """A worker's life. Signals are for the trainer, which ends its workers itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    slots = np.frombuffer(buffer, np.uint8).reshape(shape)
    try:
        while True:
            request, slot = pipe.recv()
            pipe.send(_answer(dataset, request, slots[slot]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(dataset: TrainDataset, request: Request, pixels_BCHW: Image) -> tuple[Any, Any]:
    try:
        samples = make_samples(dataset, request)
    except Exception as error:
        return error, None
    pixels_BCHW[:] = samples.images_BCHW
    return samples.targets_M6, samples.indices_B
