"""Precision and recall of one class as functions of the confidence threshold, and the area under their curve."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCES = np.linspace(0, 1, 1000)
"""Where precision and recall are tabulated."""
RECALLS = np.linspace(0, 1, 101)
"""Where precision is interpolated for the area, as in COCO."""

Array = NDArray[Any]


@dataclass(frozen=True)
class ClassCurves:
    """(1000,) at `CONFIDENCES`, matched at the lowest IoU threshold; and (T,) areas, one for each IoU threshold.

    `precision_at_recall`: (101,) at `RECALLS`, the monotone curve whose area is the first of the areas.
    """

    precision: Array
    recall: Array
    average_precisions: Array
    precision_at_recall: Array

    @property
    def f1(self) -> Array:
        return 2 * self.precision * self.recall / (self.precision + self.recall + 1e-16)


def class_curves(correct_KT: Array, confidence_K: Array, labels: int) -> ClassCurves:
    """Curves of a class with `labels` > 0 ground-truth boxes.

    correct_KT: whether each detection is right at each IoU threshold. Detections come by falling confidence.
    """
    thresholds = correct_KT.shape[1]
    if not len(correct_KT):
        nothing = np.zeros_like(CONFIDENCES)
        return ClassCurves(nothing, nothing, np.zeros(thresholds), np.zeros_like(RECALLS))
    true_positives_KT = correct_KT.cumsum(axis=0)
    precision_KT = true_positives_KT / np.arange(1, len(correct_KT) + 1)[:, None]
    recall_KT = true_positives_KT / labels
    # np.interp wants rising abscissae, hence the minus signs; above the highest confidence nothing is detected.
    rising_K = -confidence_K.astype(np.float64)
    envelopes = [_precision_at_recall(recall_KT[:, t], precision_KT[:, t]) for t in range(thresholds)]
    return ClassCurves(
        precision=np.interp(-CONFIDENCES, rising_K, precision_KT[:, 0], left=1),
        recall=np.interp(-CONFIDENCES, rising_K, recall_KT[:, 0], left=0),
        average_precisions=np.array([np.trapezoid(envelope, RECALLS) for envelope in envelopes]),
        precision_at_recall=envelopes[0],
    )


def best_f1_index(f1_C1000: Array) -> int:
    """Where in `CONFIDENCES` the mean F1 over classes is highest, after smoothing by a box of a tenth of the axis."""
    mean_1000 = f1_C1000.mean(axis=0)
    width = round(0.2 * len(mean_1000)) // 2 + 1
    smooth_1000 = np.convolve(np.pad(mean_1000, width // 2, mode="edge"), np.ones(width) / width, mode="valid")
    return int(smooth_1000.argmax())


def _precision_at_recall(recall_K: Array, precision_K: Array) -> Array:
    """The monotone envelope of the precision-recall curve at 101 recalls; trapezoids between them make the area."""
    recall = np.concatenate(([0.0], recall_K, [1.0]))
    precision = np.concatenate(([1.0], precision_K, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return np.interp(RECALLS, recall, envelope)
