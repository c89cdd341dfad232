"""Training at many sizes: every batch has one of its own, the same on all ranks."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

SIZE_STREAM = 0x512E
"""Separates these random numbers from those of order and augmentation."""
SPREAD = 0.5
"""Sizes go from 1 - SPREAD to 1 + SPREAD of the training's."""


@dataclass(frozen=True)
class MultiScale:
    """Draws a size for each batch: a pure function of seed and iteration, so ranks agree and resumed runs go on alike.

    stride: sizes are multiples of it, the model's largest.
    """

    image_size: int
    stride: int
    seed: int

    def at(self, iteration: int) -> int:
        """Side in pixels. Iterations count batches through the whole run."""
        smallest = max(round(self.image_size * (1 - SPREAD)) // self.stride, 1)
        largest = round(self.image_size * (1 + SPREAD)) // self.stride
        rng = np.random.default_rng([self.seed, iteration, SIZE_STREAM])
        return int(rng.integers(smallest, largest + 1)) * self.stride


def resized(images_BCHW: Tensor, image_size: int) -> Tensor:
    """Square images, bilinearly; the very same if they have that size."""
    if images_BCHW.shape[-1] == image_size:
        return images_BCHW
    scaled_BCHW = interpolate(images_BCHW, size=(image_size, image_size), mode="bilinear", align_corners=False)
    return scaled_BCHW.contiguous(memory_format=torch.channels_last)
