"""Training batches as tensors, from worker processes that live as long as the training.

One endless stream of (epoch, batch) feeds the workers, so they already work on the next epoch while the model is being
validated. With image weights, which follow from the validation, there is a stream for each epoch.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from .batch_worker import Request, Samples, make_samples
from .batch_workers import BatchWorkers
from .dataset import TrainDataset
from .sampler import Shards


class Batch(NamedTuple):
    images_BCHW: torch.Tensor
    """uint8, red green blue; channels last in memory."""
    targets_M6: torch.Tensor
    """float32: position of the image in this batch, class, normalised centre box."""
    indices_B: torch.Tensor
    """int64: images' indices in the split."""


class TrainLoader:
    """Training batches of one rank, epoch after epoch.

    With `workers` 0 samples are made in the calling process. If `weighted`, every epoch follows what `weigh` was told
    last. Close it, or use it as a context manager, to end the workers.
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
        weighted: bool = False,
    ) -> None:
        self._weighted = weighted
        self._weights_N: npt.NDArray[np.float64] | None = None
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
        self._open(epoch, first_batch)

    def weigh(self, weights_N: npt.NDArray[np.float64]) -> None:
        """Probabilities of the images from the next epoch on that is begun."""
        self._weights_N = weights_N

    def _open(self, epoch: int, first_batch: int) -> None:
        self._position = (epoch, first_batch)
        requests = self._requests(epoch, first_batch)
        if self._worker_count:
            batch_images = self._shards.batch_size // self._shards.world_size
            if self._workers is None:
                self._workers = BatchWorkers(self._dataset, workers=self._worker_count, batch_images=batch_images)
            self._stream = self._workers.answers(requests)
        else:
            self._stream = (make_samples(self._dataset, request) for request in requests)

    def batches(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of one epoch from `first_batch` on; any other than the next one in line costs a new start."""
        if self._position != (epoch, first_batch):
            self.close()
        if self._stream is None:
            self._open(epoch, first_batch)
        assert self._stream is not None
        stream = self._stream
        for batch in range(first_batch, self.batches_per_epoch):
            last = batch + 1 == self.batches_per_epoch
            self._position = (epoch + 1, 0) if last else (epoch, batch + 1)
            made = self._tensors(next(stream))
            if last and self._weighted:
                self._stream = None
            yield made

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
        """All of this rank's batches from there on: without end, or of one epoch if weights change with the next."""
        for following in (epoch,) if self._weighted else itertools.count(epoch):
            indices = self._shards.batches(following, self._weights_N)
            for batch in indices[first_batch if following == epoch else 0 :]:
                yield following, batch

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
