"""From detections and labels to mAP: matching, statistics that ranks can pool, curves, and the confusion matrix.

Every image gives a `DetectionStatistics`; those of all images and ranks are concatenated and become `DetectionMetrics`.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .boxes import pairwise_iou

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


IOU_THRESHOLDS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""COCO's ten."""


def match_detections(
    detections_K6: Tensor, labels_L5: Tensor, iou_thresholds: Sequence[float] = IOU_THRESHOLDS
) -> Tensor:
    """Which detections are right at which IoU threshold: (K, T) bool.

    detections_K6: xyxy, confidence, class, by falling confidence; labels_L5: class, xyxy. Boxes in the pixels of the
    original image. A detection takes the label of its class with the highest IoU; of several that take one label the
    most confident is right. Each threshold is matched on its own.
    """
    if not len(detections_K6) or not len(labels_L5):
        return torch.zeros(len(detections_K6), len(iou_thresholds), dtype=torch.bool, device=detections_K6.device)
    same_class_KL = detections_K6[:, 5:6] == labels_L5[:, 0]
    iou_KL = pairwise_iou(detections_K6[:, :4], labels_L5[:, 1:]) * same_class_KL
    iou_K, label_K = iou_KL.max(dim=1)
    claims_KT = iou_K[:, None] >= iou_K.new_tensor(iou_thresholds)
    earlier_rival_KK = (label_K[:, None] == label_K).tril(diagonal=-1)
    # In floats, because torch multiplies no matrices of booleans.
    beaten_KT = earlier_rival_KK.float() @ claims_KT.float() > 0
    return claims_KT & ~beaten_KT


@dataclass(frozen=True)
class DetectionStatistics:
    """All that the metrics need of some images, K detections and M labels, whatever their order."""

    correct: Array
    """(K, T) bool, as from `match_detections`; the others are (K,), (K,) and (M,)."""
    confidence: Array
    predicted_class: Array
    true_class: Array

    @classmethod
    def of_image(cls, detections_K6: Tensor, labels_L5: Tensor) -> Self:
        """Arguments as for `match_detections`."""
        return cls(
            correct=match_detections(detections_K6, labels_L5).cpu().numpy(),
            confidence=detections_K6[:, 4].float().cpu().numpy(),
            predicted_class=detections_K6[:, 5].long().cpu().numpy(),
            true_class=labels_L5[:, 0].long().cpu().numpy(),
        )

    def to_tensors(self) -> dict[str, Tensor]:
        """For other processes."""
        return {name: torch.from_numpy(array) for name, array in vars(self).items()}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> Self:
        return cls(**{name: tensor.numpy() for name, tensor in tensors.items()})

    @classmethod
    def concatenate(cls, parts: Sequence["DetectionStatistics"]) -> Self:
        """Those of all parts together; of no parts, those of no images."""
        return cls(
            correct=np.concatenate([np.zeros((0, len(IOU_THRESHOLDS)), bool), *(p.correct for p in parts)]),
            confidence=np.concatenate([np.zeros(0, np.float32), *(p.confidence for p in parts)]),
            predicted_class=np.concatenate([np.zeros(0, np.int64), *(p.predicted_class for p in parts)]),
            true_class=np.concatenate([np.zeros(0, np.int64), *(p.true_class for p in parts)]),
        )


@dataclass(frozen=True)
class ClassMetrics:
    """One class; precision, recall and F1 at IoU 0.5 and at the confidence that suits all classes best."""

    class_index: int
    labels: int
    precision: float
    recall: float
    f1: float
    average_precisions: tuple[float, ...]
    """One for each IoU threshold."""

    @property
    def ap50(self) -> float:
        return self.average_precisions[0]

    @property
    def ap50_95(self) -> float:
        return float(np.mean(self.average_precisions))


@dataclass(frozen=True)
class DetectionMetrics:
    """Means over the classes that have labels; zero if none has. One with labels and no detections counts as zero."""

    classes: tuple[ClassMetrics, ...]
    """By rising class index."""
    confidence: float
    """Threshold of the highest mean F1, at which precision and recall are taken."""

    @classmethod
    def from_statistics(cls, statistics: DetectionStatistics) -> Self:
        true_classes_C, labels_C = np.unique(statistics.true_class, return_counts=True)
        if not len(true_classes_C):
            return cls(classes=(), confidence=0.0)
        curves = [
            _curves_of(int(index), int(labels), statistics)
            for index, labels in zip(true_classes_C, labels_C, strict=True)
        ]
        best = best_f1_index(np.stack([curve.f1 for curve in curves]))
        return cls(
            classes=tuple(
                _class_metrics(int(index), int(labels), curve, best)
                for index, labels, curve in zip(true_classes_C, labels_C, curves, strict=True)
            ),
            confidence=float(CONFIDENCES[best]),
        )

    def to_dict(self) -> dict[str, Any]:
        """For other processes."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        return cls(tuple(ClassMetrics(**row) for row in values["classes"]), values["confidence"])

    @property
    def labels(self) -> int:
        return sum(row.labels for row in self.classes)

    @property
    def precision(self) -> float:
        return _mean([row.precision for row in self.classes])

    @property
    def recall(self) -> float:
        return _mean([row.recall for row in self.classes])

    @property
    def map50(self) -> float:
        return _mean([row.ap50 for row in self.classes])

    @property
    def map50_95(self) -> float:
        return _mean([row.ap50_95 for row in self.classes])

    def named(self) -> dict[str, float]:
        """The means by the names that checkpoints and results give them."""
        return {"precision": self.precision, "recall": self.recall, "mAP50": self.map50, "mAP50_95": self.map50_95}

    def class_map(self, num_classes: int) -> list[float]:
        """mAP50-95 of every class; one without labels counts as the mean."""
        by_class = {row.class_index: row.ap50_95 for row in self.classes}
        return [by_class.get(index, self.map50_95) for index in range(num_classes)]

    @property
    def fitness(self) -> float:
        """What picks the best checkpoint."""
        # YOLOv5's weights, so that one training has the same best epoch in both.
        return 0.1 * self.map50 + 0.9 * self.map50_95


def curves_by_class(statistics: DetectionStatistics) -> dict[int, ClassCurves]:
    """The curves of every class that has labels, by rising class index."""
    true_classes_C, labels_C = np.unique(statistics.true_class, return_counts=True)
    counts = zip(true_classes_C.tolist(), labels_C.tolist(), strict=True)
    return {index: _curves_of(index, labels, statistics) for index, labels in counts}


def _curves_of(class_index: int, labels: int, statistics: DetectionStatistics) -> ClassCurves:
    of_class_K = statistics.predicted_class == class_index
    correct_KT, confidence_K = statistics.correct[of_class_K], statistics.confidence[of_class_K]
    # Stable, or equal confidences would come in an order that depends on the processor.
    best_first_K = np.argsort(-confidence_K, kind="stable")
    return class_curves(correct_KT[best_first_K], confidence_K[best_first_K], labels)


def _class_metrics(class_index: int, labels: int, curves: ClassCurves, best: int) -> ClassMetrics:
    return ClassMetrics(
        class_index=class_index,
        labels=labels,
        precision=float(curves.precision[best]),
        recall=float(curves.recall[best]),
        f1=float(curves.f1[best]),
        average_precisions=tuple(map(float, curves.average_precisions)),
    )


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else 0.0


def confusion_matrix(
    detections_K6: Tensor,
    labels_L5: Tensor,
    num_classes: int,
    confidence_threshold: float = 0.25,
    iou_threshold: float = 0.45,
) -> Tensor:
    """Counts (classes + 1, classes + 1) of one image: row predicted, column true, last of both the background.

    detections_K6: xyxy, confidence, class; labels_L5: class, xyxy. Boxes match whatever their class, the highest IoU
    first. As in YOLOv5, images without labels and the detections of an image without any match are left out, so that
    unlabelled images do not fill the background column.
    """
    detections_K6 = detections_K6[detections_K6[:, 4] > confidence_threshold]
    matched_detection_P, matched_label_P = _matches(detections_K6, labels_L5, iou_threshold)
    predicted_K, true_L = detections_K6[:, 5].long(), labels_L5[:, 0].long()
    counts = torch.zeros(num_classes + 1, num_classes + 1, dtype=torch.int64, device=labels_L5.device)

    _count(counts, predicted_K[matched_detection_P], true_L[matched_label_P])
    missed_M = _except(true_L, matched_label_P)
    _count(counts, torch.full_like(missed_M, num_classes), missed_M)
    if len(matched_label_P):
        invented_F = _except(predicted_K, matched_detection_P)
        _count(counts, invented_F, torch.full_like(invented_F, num_classes))
    return counts


def _matches(detections_K6: Tensor, labels_L5: Tensor, iou_threshold: float) -> tuple[Tensor, Tensor]:
    """Indices (P,) of detections and their labels: every detection takes its best label, the label its best taker."""
    if not len(detections_K6) or not len(labels_L5):
        none = torch.zeros(0, dtype=torch.int64, device=labels_L5.device)
        return none, none
    iou_KL = pairwise_iou(detections_K6[:, :4], labels_L5[:, 1:])
    best_label_K1 = iou_KL.argmax(dim=1, keepdim=True)
    claimed_KL = torch.zeros_like(iou_KL).scatter_(1, best_label_K1, iou_KL.gather(1, best_label_K1))
    best_iou_L, best_detection_L = claimed_KL.max(dim=0)
    matched_label_P = torch.where(best_iou_L > iou_threshold)[0]
    return best_detection_L[matched_label_P], matched_label_P


def _except(classes_N: Tensor, indices: Tensor) -> Tensor:
    rest_N = torch.ones_like(classes_N, dtype=torch.bool)
    rest_N[indices] = False
    return classes_N[rest_N]


def _count(counts: Tensor, rows: Tensor, columns: Tensor) -> None:
    counts.index_put_((rows, columns), torch.ones_like(rows), accumulate=True)
