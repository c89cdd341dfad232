"""Which images make which batch: pure functions of (seed, epoch), the same on every rank."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

ORDER_STREAM = 0x5EED
"""Separates the random numbers of the order from those of the augmentation."""


def batches_per_epoch(images: int, batch_size: int) -> int:
    """Full batches in an epoch, the incomplete last one dropped; at least one."""
    return max(1, images // batch_size)


def epoch_order(
    images: int, *, seed: int, epoch: int, weights_N: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.int64]:
    """Random permutation (images,) of one epoch; with `weights_N`, probabilities, as many draws with replacement."""
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
