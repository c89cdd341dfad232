"""Training and validation batches as tensors.

Training: one endless stream of (epoch, batch) feeds the worker processes, so they already work on the next epoch while
the model is being validated. With image weights, which follow from the validation, there is a stream for each epoch.

Validation: every image exactly once over all ranks, in rectangular shapes. The pixels lie decoded and scaled in the
cache, so that a batch is little more than a copy: one thread that works one batch ahead keeps up with any model.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch

from .batch_workers import BatchWorkers
from .dataset import BatchRequest, CollatedBatch, Collator, Pixels, TrainDataset, collate_targets
from .geometry import (
    Placement,
    Size,
    Targets,
    letterbox,
    letterboxed_targets,
    plan_letterbox,
    plan_rectangular,
    scale_boxes,
    xywhn_to_xyxy,
)
from .gpu_augmentation import render_on_device
from .prepared import CachedImages, PreparedDataset, Split
from .sampler import Shards

CPU = torch.device("cpu")

log = logging.getLogger(__name__)


class Batch(NamedTuple):
    images_BCHW: torch.Tensor
    """uint8, red green blue; channels last in memory."""
    targets_M6: torch.Tensor
    """float32: position of the image in this batch, class, normalised centre box."""
    indices_B: torch.Tensor
    """int64: images' indices in the split."""


class Copies:
    """How batches leave the memory that they were made in: here, a copy at once."""

    def register(self, memory: Pixels) -> None:
        """Get ready to copy out of it."""

    def forget(self) -> None:
        """The registered memory is about to go."""

    def copy(self, lent: torch.Tensor) -> torch.Tensor:
        """May go on reading until `finish`."""
        return lent.clone()

    def upload(self, own: torch.Tensor) -> torch.Tensor:
        """A small tensor that nobody will overwrite."""
        return own

    def arrange(self, targets_M6: Targets) -> Targets:
        """Boxes as the device likes them."""
        return targets_M6

    def finish(self) -> None:
        """When it returns, what was copied may be overwritten."""


class CudaCopies(Copies):
    """Onto a GPU, on a stream of their own: neither the thread that trains nor the kernels before wait for the bus."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._runtime: Any = torch.cuda.cudart()  # type: ignore[no-untyped-call]
        self._done: torch.cuda.Event | None = None
        self._registered: list[Pixels] = []

    def register(self, memory: Pixels) -> None:
        """Pin it once for all batches: that takes longer than a copy, and only pinned memory a GPU reads by itself."""
        failure = int(self._runtime.cudaHostRegister(memory.ctypes.data, memory.nbytes, 0))
        if failure:
            # A limit on locked memory, most likely. The runtime would report it again with the next kernel.
            with contextlib.suppress(RuntimeError):
                torch.zeros(1, device=self._device)
            log.warning("memory of the loader cannot be pinned (CUDA error %d): copies to the GPU are slower", failure)
        else:
            self._registered.append(memory)

    def forget(self) -> None:
        self.finish()
        while self._registered:
            self._runtime.cudaHostUnregister(self._registered.pop().ctypes.data)

    def copy(self, lent: torch.Tensor) -> torch.Tensor:
        with torch.cuda.stream(self._stream):
            there = lent.to(self._device, non_blocking=True)
            self._done = self._stream.record_event()  # type: ignore[no-untyped-call]
        current = torch.cuda.current_stream(self._device)
        current.wait_event(self._done)
        # Or the memory would be given away while kernels of the other stream still read it.
        there.record_stream(current)
        return there

    def upload(self, own: torch.Tensor) -> torch.Tensor:
        return self.copy(own.pin_memory())

    def arrange(self, targets_M6: Targets) -> Targets:
        return padded_targets(targets_M6)

    def finish(self) -> None:
        if self._done is not None:
            self._done.synchronize()


FEWEST_ROWS = 64


def padded_targets(targets_M6: Targets) -> Targets:
    """As many rows as the next power of two, the rest boxes without area, which match no anchor.

    Batches differ in their number of boxes; with a few numbers only, memory on a GPU is used again as it was, and what
    is compiled or captured for a shape serves many batches.
    """
    rows = max(FEWEST_ROWS, 1 << (len(targets_M6) - 1).bit_length()) if len(targets_M6) else FEWEST_ROWS
    return np.concatenate([targets_M6, np.zeros((rows - len(targets_M6), 6), np.float32)])


class TrainLoader:
    """Training batches of one rank, epoch after epoch.

    With `workers` 0 samples are made in the calling process. For a CUDA `device` images and targets are there; with
    `render_on_gpu` it also warps and recolours the images. If `weighted`, every epoch follows
    what `weigh` was told last. Close it, or use it as a context manager, to end the workers.
    """

    def __init__(
        self,
        dataset: TrainDataset,
        *,
        batch_size: int,
        rank: int = 0,
        world_size: int = 1,
        workers: int = 0,
        device: torch.device = CPU,
        render_on_gpu: bool = False,
        weighted: bool = False,
        copies: Copies | None = None,
    ) -> None:
        self._copies = copies or (CudaCopies(device) if device.type == "cuda" else Copies())
        self._weighted = weighted
        self._weights_N: npt.NDArray[np.float64] | None = None
        self._collator = Collator(dataset, render_here=not render_on_gpu)
        self._shards = Shards(len(dataset), dataset.seed, batch_size, rank, world_size)
        self._worker_count, self._device = workers, device
        self._workers: BatchWorkers | None = None
        self._stream: Iterator[tuple[Pixels, CollatedBatch]] | None = None
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
        batch_images = self._shards.batch_size // self._shards.world_size
        if self._worker_count:
            # Kept from stream to stream: with image weights each epoch has its own, and processes start slowly.
            if self._workers is None:
                self._workers = BatchWorkers(self._collator, workers=self._worker_count, batch_images=batch_images)
                for memory in self._workers.memories:
                    self._copies.register(memory)
            self._stream = self._workers.answers(requests)
        else:
            self._stream = _make_here(self._collator, requests, batch_images)

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
            # Noted before the batch is given away: whoever leaves the loop after it goes on behind it.
            self._position = (epoch + 1, 0) if last else (epoch, batch + 1)
            # The memory of the batch before goes back to its worker with the next one.
            self._copies.finish()
            tensors = self._tensors(*next(stream))
            # The order of the next epoch follows from weights that its validation has yet to give.
            if last and self._weighted:
                self._stream = None
            yield tensors

    def close(self) -> None:
        """End the worker processes."""
        self._stream = None
        self._copies.forget()
        if self._workers is not None:
            self._workers.close()
            self._workers = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _requests(self, epoch: int, first_batch: int) -> Iterator[BatchRequest]:
        """All of this rank's batches from there on: without end, or of one epoch if weights change with the next."""
        for following in (epoch,) if self._weighted else itertools.count(epoch):
            indices = self._shards.batches(following, self._weights_N)
            for batch in indices[first_batch if following == epoch else 0 :]:
                yield following, batch

    def _tensors(self, pixels: Pixels, collated: CollatedBatch) -> Batch:
        copy, side = self._copies.copy(torch.from_numpy(pixels)), self._collator.dataset.image_size
        if collated.pending is None:
            images_BCHW = copy.view(-1, side, side, 3).permute(0, 3, 1, 2)
        else:
            images_BCHW = render_on_device(self._device, copy, collated.pending, side)
        targets_M6 = self._copies.upload(torch.from_numpy(self._copies.arrange(collated.targets_M6)))
        return Batch(images_BCHW, targets_M6, torch.from_numpy(collated.indices_B))


def _make_here(
    collator: Collator, requests: Iterator[BatchRequest], images: int
) -> Iterator[tuple[Pixels, CollatedBatch]]:
    """As `BatchWorkers.answers`, in this process."""
    pixels = np.empty(collator.bytes_for(images), np.uint8)
    for request in requests:
        collated = collator.collate(request, pixels)
        yield pixels[: collated.used], collated


STRIDE = 32


class ValBatch(NamedTuple):
    images_BCHW: torch.Tensor
    """uint8, red green blue."""
    targets_M6: torch.Tensor
    """float32: position of the image in this batch, class, normalised centre box in the letterboxed image."""
    placements: list[Placement]
    """Of each original image in its letterboxed one."""
    indices_B: npt.NDArray[np.int64]
    """Images' indices in the split."""

    def labels(self, position: int) -> torch.Tensor:
        """(L, 5) float32: class and xyxy of one image's targets, in pixels of the original."""
        targets_L6 = self.targets_M6[self.targets_M6[:, 0] == position].numpy()
        height, width = self.images_BCHW.shape[2:]
        boxes_L4 = xywhn_to_xyxy(targets_L6[:, 2:], width=width, height=height)
        original_L4 = scale_boxes(boxes_L4, self.placements[position]).astype(np.float32)
        return torch.from_numpy(np.concatenate([targets_L6[:, 1:2], original_L4], axis=1))


def val_batches(
    prepared: PreparedDataset,
    split: Split,
    *,
    image_size: int,
    batch_size: int,
    rank: int = 0,
    world_size: int = 1,
    stride: int = STRIDE,
    rectangular: bool = True,
    pinned: bool = False,
) -> Iterator[ValBatch]:
    """Batches r, r + W, … of the split for rank r of W; `batch_size` is that of one rank's batch.

    The batches do not depend on the world size. Square batches instead of rectangular ones have `image_size` a side.
    `pinned` is for a GPU, which then reads the images by itself.
    """
    if prepared.image_size != image_size:
        raise ValueError(f"the data set is prepared for {prepared.image_size} px, not for {image_size} px")
    images = CachedImages(split.labels, split.cache)
    originals = np.array([(record.height, record.width) for record in split.images], np.int64)
    plan = plan_rectangular(originals, image_size=image_size, batch_size=batch_size, stride=stride)
    shapes = plan.batch_shapes if rectangular else np.full_like(plan.batch_shapes, image_size)
    # In turn: the plan is sorted by aspect, so that every rank gets shapes of all kinds.
    mine = range(rank, len(shapes), world_size)

    def make(batch: int) -> ValBatch:
        height, width = shapes[batch]
        indices = plan.order[batch * batch_size : (batch + 1) * batch_size]
        made = _batch(images, originals, indices, (int(height), int(width)))
        return made._replace(images_BCHW=made.images_BCHW.pin_memory()) if pinned else made

    # One batch ahead, not more: each holds the pixels of a whole batch.
    with ThreadPoolExecutor(1, "validation-batches") as ahead:
        pending = None
        for batch in mine:
            following = ahead.submit(make, batch)
            if pending is not None:
                yield pending.result()
            pending = following
        if pending is not None:
            yield pending.result()


def _batch(
    images: CachedImages, originals_N2: npt.NDArray[np.int64], indices_B: npt.NDArray[np.int64], shape: Size
) -> ValBatch:
    pixels, targets, placements = [], [], []
    for index in indices_B.tolist():
        # As in v7.0's validation: room that the batch's shape has to spare becomes grey, not larger pixels.
        plan = plan_letterbox(images.size(index), shape, enlarge=False)
        pixels.append(letterbox(images.image(index), plan))
        targets.append(letterboxed_targets(images.targets(index), plan))
        height, width = originals_N2[index].tolist()
        # YOLOv5's val.py takes the exact paddings here, halves of pixels too, and the ratio of the heights: another
        # rule would be as good, but not give its mAP to the last digit.
        ratio = images.size(index)[0] / height * plan.ratio
        placements.append(Placement((height, width), ratio, plan.pad_x, plan.pad_y))
    return ValBatch(
        torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2),
        torch.from_numpy(collate_targets(targets)),
        placements,
        indices_B,
    )
