"""How often each image is shown when training attends to what is rare and what is still badly found."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .cache import CachedImages
from .prepared import Split

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
