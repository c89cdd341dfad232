"""Which images make which batch: pure functions of (seed, epoch), the same on every rank.

With image weights, images of rare and of badly detected classes are drawn more often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .prepared import CachedImages, Split

ORDER_STREAM = 0x5EED
"""Separates the random numbers of the order from those of the augmentation."""


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Full batches in an epoch, the incomplete last one dropped; at least one."""
    # A partial batch could not be dealt evenly to the ranks, and would be a second shape for a compiled model.
    return max(1, images // batch_size)


def epoch_order(
    images: int, *, seed: int, epoch: int, weights_N: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.int64]:
    """Random permutation (images,) of one epoch; with `weights_N`, probabilities, as many draws with replacement."""
    # Seeded for each epoch: a resumed run needs no state of a generator.
    rng = np.random.default_rng([seed, epoch, ORDER_STREAM])
    return rng.permutation(images) if weights_N is None else rng.choice(images, images, p=weights_N)


@dataclass(frozen=True)
class Shards:
    """How the images of every epoch are dealt to batches and ranks.

    A rank takes every world_size-th image of each global batch, so that the ranks' batches together are the batch of a
    single process. A set smaller than a batch is repeated until the batch is full.
    """

    images: int
    seed: int
    batch_size: int
    """Of all ranks together."""
    rank: int = 0
    world_size: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise ValueError(f"batch size {self.batch_size} is not a multiple of the world size {self.world_size}")

    @property
    def batches_per_epoch(self) -> int:
        return batches_per_epoch(self.images, self.batch_size)

    def batches(self, epoch: int, weights_N: npt.NDArray[np.float64] | None = None) -> npt.NDArray[np.int64]:
        """Image indices (batches, batch_size / world_size) of this rank in one epoch."""
        order = epoch_order(self.images, seed=self.seed, epoch=epoch, weights_N=weights_N)
        full = np.resize(order, self.batches_per_epoch * self.batch_size)
        return full.reshape(-1, self.batch_size)[:, self.rank :: self.world_size]


Counts = npt.NDArray[np.int64]
"""(images, classes) boxes of each class in each image."""
Weights = npt.NDArray[np.float64]


def count_boxes(split: Split, classes: int) -> Counts:
    images = CachedImages(split.labels, split.cache)
    labels = (images.targets(index)[:, 0].astype(np.int64) for index in range(len(images)))
    return np.stack([np.bincount(classes_of_image, minlength=classes) for classes_of_image in labels])


def image_weights(counts_NC: Counts, map_C: Sequence[float]) -> Weights:
    """Probabilities (images,) of being shown.

    A box weighs the inverse of its class's number of boxes, times (1 - mAP50-95)² of its class in the last validation;
    an image weighs what its boxes do. An image without boxes is therefore never shown, as in YOLOv5. If nothing weighs
    anything, all images are alike.
    """
    class_weights_C = (1 - np.asarray(map_C, np.float64)) ** 2 / np.maximum(counts_NC.sum(axis=0), 1)
    weights_N = counts_NC @ class_weights_C
    total = float(weights_N.sum())
    uniform_N: Weights = np.full(len(counts_NC), 1 / len(counts_NC))
    return weights_N / total if total > 0 else uniform_N
