"""Training batches as tensors, from worker processes that live as long as the training.

One endless stream of (epoch, batch) feeds the workers, so they already work on the next epoch while the model is being
validated.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, Self

import torch

from .batch_worker import Request, Samples, make_samples
from .batch_workers import BatchWorkers
from .dataset import TrainDataset
from .sampler import Shards


class Batch(NamedTuple):
    images_BCHW: torch.Tensor
    """uint8, red green blue."""
    targets_M6: torch.Tensor
    """float32: position of the image in this batch, class, normalised centre box."""
    indices_B: torch.Tensor
    """int64: images' indices in the split."""


class TrainLoader:
    """Training batches of one rank, epoch after epoch.

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
        self._worker_count, self._pin_memory = workers, pin_memory
        self._workers: BatchWorkers | None = None
        self._stream: Iterator[Samples] | None = None
        self._position = (0, 0)

    @property
    def batches_per_epoch(self) -> int:
        return self._shards.batches_per_epoch

    def start(self, epoch: int = 0, first_batch: int = 0) -> None:
        """Begin to make batches from there on, so that they are ready when training is."""
        self.close()
        self._position = (epoch, first_batch)
        requests = self._requests(epoch, first_batch)
        if self._worker_count:
            batch_images = self._shards.batch_size // self._shards.world_size
            self._workers = BatchWorkers(self._dataset, workers=self._worker_count, batch_images=batch_images)
            self._stream = self._workers.answers(requests)
        else:
            self._stream = (make_samples(self._dataset, request) for request in requests)

    def batches(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `first_batch` on; any other than the next one in line costs a new start."""
        if self._stream is None or self._position != (epoch, first_batch):
            self.start(epoch, first_batch)
        assert self._stream is not None
        stream = self._stream
        for batch in range(first_batch, self.batches_per_epoch):
            last = batch + 1 == self.batches_per_epoch
            self._position = (epoch + 1, 0) if last else (epoch, batch + 1)
            yield self._tensors(next(stream))

    def close(self) -> None:
        """End the worker processes."""
        self._stream = None
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _requests(self, epoch: int, first_batch: int) -> Iterator[Request]:
        """All of this rank's batches from there on, without end."""
        for following in itertools.count(epoch):
            for indices in self._shards.batches(following)[first_batch if following == epoch else 0 :]:
                yield following, indices

    def _tensors(self, samples: Samples) -> Batch:
        """Copy out of the shared memory, straight into pinned memory if a GPU reads it."""
        shared_BCHW = torch.from_numpy(samples.images_BCHW)
        images_BCHW = shared_BCHW.pin_memory() if self._pin_memory else shared_BCHW.clone()
        return Batch(images_BCHW, torch.from_numpy(samples.targets_M6), torch.from_numpy(samples.indices_B))


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
