"""Batches for training and validation.

Training batches come from worker processes that live as long as their loader: one endless stream of (epoch, batch)
feeds them, so they already work on the next epoch while the model is being validated.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple, Self

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from .dataset import TrainDataset
from .sampler import Shards

BATCHES_AHEAD = 4
"""Batches that every worker prepares in advance."""

Request = tuple[int, int]
"""Epoch and image index of a sample."""


class Batch(NamedTuple):
    images_BCHW: torch.Tensor
    """uint8, red green blue."""
    targets_M6: torch.Tensor
    """float32: position of the image in this batch, class, normalised centre box."""
    indices_B: torch.Tensor
    """int64: images' indices in the split."""


class TrainLoader:
    """Training batches of one rank, epoch after epoch, from worker processes that stay.

    With `workers` 0 samples are made in the calling process. Close it, or use it as a context manager, to end the
    workers.
    """

    def __init__(
        self,
        dataset: TrainDataset,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        self._dataset = dataset
        self._shards = Shards(len(dataset), dataset.seed, batch_size, rank, world_size)
        self._workers, self._pin_memory = workers, pin_memory
        self._stream: Iterator[Batch] | None = None
        self._position = (0, 0)

    @property
    def batches_per_epoch(self) -> int:
        return self._shards.batches_per_epoch

    def start(self, epoch: int = 0, first_batch: int = 0) -> None:
        """Begin to prepare batches from there on; workers need seconds to start, so call this early."""
        self.close()
        self._position = (epoch, first_batch)
        self._stream = self._open_stream(epoch, first_batch)

    def batches(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `first_batch` on: in training order for free, elsewhere by a new start."""
        if self._stream is None or self._position != (epoch, first_batch):
            self.start(epoch, first_batch)
        assert self._stream is not None
        stream = self._stream
        for batch in range(first_batch, self.batches_per_epoch):
            last = batch + 1 == self.batches_per_epoch
            self._position = (epoch + 1, 0) if last else (epoch, batch + 1)
            yield next(stream)

    def close(self) -> None:
        """End the worker processes."""
        self._stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open_stream(self, epoch: int, first_batch: int) -> Iterator[Batch]:
        loader: DataLoader[Batch] = DataLoader(
            _Samples(self._dataset),  # type: ignore[arg-type]
            batch_sampler=_Schedule(self._shards, epoch, first_batch),
            num_workers=self._workers,
            collate_fn=collate,
            pin_memory=self._pin_memory,
            worker_init_fn=prepare_worker if self._workers else None,
            multiprocessing_context="forkserver" if self._workers else None,
            prefetch_factor=BATCHES_AHEAD if self._workers else None,
        )
        return iter(loader)


def train_batches(
    dataset: TrainDataset,
    *,
    batch_size: int,
    rank: int,
    world_size: int,
    workers: int,
    epoch: int,
    first_batch: int = 0,
) -> Iterator[Batch]:
    """The batches of a single epoch; `batch_size` is global. Several epochs want one `TrainLoader`."""
    with TrainLoader(dataset, batch_size=batch_size, rank=rank, world_size=world_size, workers=workers) as loader:
        yield from loader.batches(epoch, first_batch)


def collate(samples: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], int]]) -> Batch:
    """Stack samples (image, targets, index); targets get the position of their image in the batch."""
    images = torch.from_numpy(np.stack([image for image, _, _ in samples]))
    return Batch(
        images, stack_targets([targets for _, targets, _ in samples]), torch.tensor([i for _, _, i in samples])
    )


def stack_targets(targets: list[npt.NDArray[np.float32]]) -> torch.Tensor:
    """(M, 6) from the (N, 5) targets of each image."""
    positions = np.repeat(np.arange(len(targets), dtype=np.float32), [len(rows) for rows in targets])
    return torch.from_numpy(np.column_stack([positions, np.concatenate(targets)]))


def prepare_worker(_: int) -> None:
    """One thread per worker, and no death by signals that are meant for the trainer: it ends its workers itself."""
    cv2.setNumThreads(0)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


class _Samples(Dataset[tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], int]]):
    def __init__(self, dataset: TrainDataset) -> None:
        self._dataset = dataset

    def __getitem__(self, request: Request) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], int]:
        epoch, index = request
        return *self._dataset.sample(epoch, index), index


@dataclass(frozen=True)
class _Schedule(Sampler[list[Request]]):
    """All batches of one rank from a point of a training on, without end."""

    shards: Shards
    epoch: int
    first_batch: int

    def __iter__(self) -> Iterator[list[Request]]:
        for epoch in itertools.count(self.epoch):
            first = self.first_batch if epoch == self.epoch else 0
            for batch in self.shards.batches(epoch)[first:]:
                yield [(epoch, int(index)) for index in batch]
