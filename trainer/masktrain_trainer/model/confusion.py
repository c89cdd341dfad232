"""Which class is taken for which: counts that add up over images and ranks."""

import torch
from torch import Tensor

from .boxes import pairwise_iou


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
