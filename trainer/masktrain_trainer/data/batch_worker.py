"""One process that makes training batches: `python -m masktrain_trainer.data.batch_worker PIPE MEMORY`.

PIPE and MEMORY are inherited file descriptors. The process never imports torch, so it starts in a fraction of a second
and stays small: pixels go back through MEMORY, the rest through PIPE, whose end also ends the process.
"""

from __future__ import annotations

import mmap
import signal
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection

import cv2
import numpy as np
import numpy.typing as npt

from .arrays import Image, Targets
from .dataset import TrainDataset

Request = tuple[int, npt.NDArray[np.int64]]
"""Epoch, and the indices of the images of one rank's batch."""


@dataclass(frozen=True)
class Samples:
    """A batch before it becomes tensors."""

    images_BCHW: Image
    """Channels last in memory: as images are made, and as convolutions want them."""
    targets_M6: Targets
    """Position of the image in this batch, class, normalised centre box."""
    indices_B: npt.NDArray[np.int64]


def make_samples(dataset: TrainDataset, request: Request) -> Samples:
    epoch, indices = request
    samples = [dataset.sample(epoch, index) for index in indices.tolist()]
    images_BHWC = np.stack([image.transpose(1, 2, 0) for image, _ in samples])
    return Samples(images_BHWC.transpose(0, 3, 1, 2), stack_targets([rows for _, rows in samples]), indices)


def stack_targets(targets: list[Targets]) -> Targets:
    """(M, 6) from the (N, 5) targets of each image: every row begins with its image's position."""
    positions = np.repeat(np.arange(len(targets), dtype=np.float32), [len(rows) for rows in targets])
    return np.column_stack([positions, np.concatenate(targets)])


def map_slots(memory: int, shape: tuple[int, ...]) -> Image:
    """The shared memory behind a file descriptor as an array of `shape`: slot, image, channel, row, column.

    Channels are last in memory.
    """
    slots, images, channels, rows, columns = shape
    flat = np.frombuffer(mmap.mmap(memory, int(np.prod(shape))), np.uint8)
    return flat.reshape(slots, images, rows, columns, channels).transpose(0, 1, 4, 2, 3)


def serve(pipe: Connection, memory: int) -> None:
    """Receive (dataset, shape of the slots), then answer (request, slot) until the other end is closed.

    An answer is (targets_M6, indices_B), with the pixels in the slot, or the exception that prevented it.
    """
    try:
        dataset, shape = pipe.recv()
        slots = map_slots(memory, shape)
        while True:
            request, slot = pipe.recv()
            pipe.send(_answer(dataset, request, slots[slot]))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return


def _answer(
    dataset: TrainDataset, request: Request, pixels_BCHW: Image
) -> tuple[Targets, npt.NDArray[np.int64]] | Exception:
    try:
        samples = make_samples(dataset, request)
    except Exception as error:
        return error
    pixels_BCHW[:] = samples.images_BCHW
    return samples.targets_M6, samples.indices_B


def main() -> None:
    """Signals are for the trainer, which ends its workers itself."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    cv2.setNumThreads(0)
    pipe, memory = map(int, sys.argv[1:])
    serve(Connection(pipe), memory)


if __name__ == "__main__":
    main()
