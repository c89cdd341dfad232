"""Validation batches: every image exactly once over all ranks, in rectangular shapes.

The pixels lie decoded and scaled in the cache, so that a batch is little more than a copy: one thread that works one
batch ahead keeps up with any model, and no process has to be started.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from .batch_maker import stack_targets
from .cache import CachedImages
from .letterbox import letterbox, plan_letterbox
from .prepared import PreparedDataset, Split
from .rectangular import letterboxed_targets, plan_rectangular

STRIDE = 32


class ValBatch(NamedTuple):
    images_BCHW: torch.Tensor
    """uint8, red green blue."""
    targets_M6: torch.Tensor
    """float32: position of the image in this batch, class, normalised centre box in the letterboxed image."""
    original_sizes_B2: npt.NDArray[np.int64]
    """Height and width of the original images."""
    ratio_pads_B3: npt.NDArray[np.float64]
    """Scale from the original image to the batch's, pad x, pad y: what `geometry.scale_boxes` takes."""
    indices_B: npt.NDArray[np.int64]
    """Images' indices in the split."""


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
) -> Iterator[ValBatch]:
    """Batches r, r + W, … of the split for rank r of W; `batch_size` is that of one rank's batch.

    The batches do not depend on the world size. Square batches instead of rectangular ones have `image_size` a side.
    """
    if prepared.image_size != image_size:
        raise ValueError(f"the data set is prepared for {prepared.image_size} px, not for {image_size} px")
    images = CachedImages(split.labels, split.cache)
    originals = np.array([(record.height, record.width) for record in split.images], np.int64)
    plan = plan_rectangular(originals, image_size=image_size, batch_size=batch_size, stride=stride)
    shapes = plan.batch_shapes if rectangular else np.full_like(plan.batch_shapes, image_size)
    mine = range(rank, len(shapes), world_size)

    def make(batch: int) -> ValBatch:
        height, width = shapes[batch]
        indices = plan.order[batch * batch_size : (batch + 1) * batch_size]
        return _batch(images, originals, indices, (int(height), int(width)))

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
    images: CachedImages, originals_N2: npt.NDArray[np.int64], indices_B: npt.NDArray[np.int64], shape: tuple[int, int]
) -> ValBatch:
    pixels, targets, ratio_pads = [], [], []
    for index in indices_B.tolist():
        plan = plan_letterbox(images.size(index), shape, enlarge=False)
        pixels.append(letterbox(images.image(index), plan))
        targets.append(letterboxed_targets(images.targets(index), plan))
        ratio = images.size(index)[0] / originals_N2[index, 0] * plan.ratio
        ratio_pads.append((ratio, plan.pad_x, plan.pad_y))
    return ValBatch(
        torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2),
        torch.from_numpy(stack_targets(targets)),
        originals_N2[indices_B],
        np.array(ratio_pads, np.float64),
        indices_B,
    )
