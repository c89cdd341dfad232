"""Non-maximum suppression: of the boxes that a network says those that are kept."""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from masktrain_trainer.model.boxes import xywh_to_xyxy

MAX_CANDIDATES = 30_000
"""Boxes of one image that enter suppression, best first: a bound on time for a model that sees objects everywhere."""
FIRST_PREFIX = 2_048
MOST_APART_ON_CPU, MOST_APART_ON_GPU = 1_000, 25_000
"""Boxes that are suppressed in one call for all classes: torchvision's bounds, see
https://github.com/pytorch/vision/issues/1311."""


@torch.no_grad()
def non_max_suppression(
    prediction_BNP: Tensor,
    confidence_threshold: float = 0.25,
    iou_threshold: float = 0.45,
    *,
    multi_label: bool = False,
    agnostic: bool = False,
    classes: Sequence[int] | None = None,
    max_detections: int = 300,
) -> list[Tensor]:
    """Detections (K, 6) of every image: xyxy in pixels, confidence, class; by falling confidence.

    prediction_BNP: (B, N, 5 + classes), as `Yolo.decode` returns it. With `multi_label` a box counts for each class
    above the threshold (validation), else for its best class only. `agnostic` lets boxes suppress those of other
    classes. All thresholds are strict. It runs to the end, however long: no time limit silently drops detections.
    """
    detections = []
    for prediction_NP in prediction_BNP:
        candidates_K6 = _candidates(prediction_NP, confidence_threshold, multi_label)
        if classes is not None:
            candidates_K6 = candidates_K6[torch.isin(candidates_K6[:, 5], candidates_K6.new_tensor(list(classes)))]
        # Stable, so that equal confidences keep the order of the rows on every device.
        best_first_K = candidates_K6[:, 4].argsort(descending=True, stable=True)[:MAX_CANDIDATES]
        detections.append(_suppress(candidates_K6[best_first_K], iou_threshold, agnostic, max_detections))
    return detections


def _candidates(prediction_NP: Tensor, threshold: float, multi_label: bool) -> Tensor:
    """(K, 6) boxes above the threshold: xyxy, confidence = objectness x class probability, class."""
    # The cheap test first: confidence is objectness times a probability, so none of the others could pass.
    prediction_NP = prediction_NP[prediction_NP[:, 4] > threshold]
    confidence_NC = prediction_NP[:, 5:] * prediction_NP[:, 4:5]
    if multi_label:
        row_K, class_K = torch.where(confidence_NC > threshold)
        boxes_K4, confidence_K = prediction_NP[row_K, :4], confidence_NC[row_K, class_K]
        return torch.cat((xywh_to_xyxy(boxes_K4), confidence_K[:, None], class_K[:, None].to(boxes_K4.dtype)), dim=1)
    best_N, best_class_N = confidence_NC.max(dim=1)
    # One selection of whole rows: each call takes longer than its arithmetic, of the few boxes that are left.
    rows_N6 = torch.cat((prediction_NP[:, :4], best_N[:, None], best_class_N[:, None].to(best_N.dtype)), dim=1)
    rows_K6 = rows_N6[best_N > threshold]
    rows_K6[:, :4] = xywh_to_xyxy(rows_K6[:, :4])
    return rows_K6


def _suppress(candidates_K6: Tensor, iou_threshold: float, agnostic: bool, limit: int) -> Tensor:
    """The first `limit` survivors of greedy suppression.

    A box survives or not because of better boxes alone, so a prefix of the sorted candidates decides its own survivors.
    Growing the prefix until it holds enough of them is exact and spares the quadratic rest.
    """
    prefix = FIRST_PREFIX
    while True:
        best_K6 = candidates_K6[:prefix]
        kept_K = _greedy(best_K6, iou_threshold, agnostic)
        if len(kept_K) >= limit or prefix >= len(candidates_K6):
            return best_K6[kept_K[:limit]]
        prefix *= 2


def _greedy(candidates_K6: Tensor, iou_threshold: float, agnostic: bool) -> Tensor:
    """Positions of the survivors. Boxes suppress those of their own class alone, unless `agnostic`."""
    boxes_K4, confidence_K, class_K = candidates_K6[:, :4], candidates_K6[:, 4], candidates_K6[:, 5]
    if agnostic or not len(candidates_K6):
        return _native_nms()(boxes_K4, confidence_K, iou_threshold)
    if len(candidates_K6) > (MOST_APART_ON_GPU if candidates_K6.is_cuda else MOST_APART_ON_CPU):
        return _class_by_class(boxes_K4, confidence_K, class_K, iou_threshold)
    # Classes moved so far apart that none overlaps another: one call for all.
    apart_K4 = boxes_K4 + (class_K * (boxes_K4.max() + 1))[:, None]
    return _native_nms()(apart_K4, confidence_K, iou_threshold)


def _class_by_class(boxes_K4: Tensor, confidence_K: Tensor, class_K: Tensor, iou_threshold: float) -> Tensor:
    """Of candidates that are sorted already, hence so are the survivors."""
    survives_K = torch.zeros_like(confidence_K, dtype=torch.bool)
    for label in torch.unique(class_K):
        (of_class_K,) = torch.where(class_K == label)
        kept_K = _native_nms()(boxes_K4[of_class_K], confidence_K[of_class_K], iou_threshold)
        survives_K[of_class_K[kept_K]] = True
    return torch.where(survives_K)[0]


@cache
def _native_nms() -> Callable[[Tensor, Tensor, float], Tensor]:
    """Torchvision's compiled operator alone.

    Importing its package takes a second more, and a hundred megabytes, for data sets, models and a compiler.
    """
    found = find_spec("torchvision")
    libraries = (
        [path for place in found.submodule_search_locations or () for path in Path(place).glob("_C.*")] if found else []
    )
    if libraries:
        torch.ops.load_library(str(libraries[0]))  # type: ignore[no-untyped-call]
    else:
        import_module("torchvision.ops")
    operator: Callable[[Tensor, Tensor, float], Tensor] = torch.ops.torchvision.nms
    return operator
