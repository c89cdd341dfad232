"""Our mAP beside COCO's own evaluation, on the detections of trained models.

COCO matches differently: a detection may take any label of its class that is still free, and AP is a mean over 101
recall points without interpolation between them. On real detections that is a matter of thousandths, as long as both
count the same detections: COCO's usual limit of 100 per picture would cut off two thirds of the photographs'.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics

REFERENCE = Path(__file__).parent / "reference"
TOLERANCE = 0.01
MAX_DETECTIONS = 300
"""Per picture: what validation keeps."""
CLASSES = {"drawn_masks": 3, "tree_photographs": 1}


@dataclass(frozen=True)
class Found:
    """What a trained yolov5n found in a validation split, and what there is, in pixels.

    `drawn_masks`: 24 epochs on pictures of `examples/masks` at 160 px, 150 other pictures. `tree_photographs`: the
    best.pt of `examples/trees`, the 10 photographs that it was validated on.
    """

    name: str
    detections_K7: np.ndarray
    """Picture, xyxy, confidence, class."""
    labels_M6: np.ndarray
    """Picture, class, xyxy."""


@pytest.fixture(scope="module", params=CLASSES)
def found(request: pytest.FixtureRequest) -> Found:
    with np.load(REFERENCE / f"{request.param}.npz") as file:
        return Found(request.param, np.array(file["detections"]), np.array(file["labels"]))


def ours(found: Found) -> DetectionMetrics:
    def of_picture(picture: float) -> DetectionStatistics:
        found_K6 = found.detections_K7[found.detections_K7[:, 0] == picture][:, 1:]
        best_first = np.argsort(-found_K6[:, 4], kind="stable")
        labels_L5 = found.labels_M6[found.labels_M6[:, 0] == picture][:, 1:]
        return DetectionStatistics.of_image(torch.from_numpy(found_K6[best_first]), torch.from_numpy(labels_L5))

    parts = [of_picture(picture) for picture in _pictures(found)]
    return DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts))


def coco(found: Found) -> np.ndarray:
    """(classes, 2): AP50 and AP50-95 of every class."""
    annotations = [
        {"id": n, "image_id": int(p), "category_id": int(c), "bbox": _xywh(xyxy), "area": _area(xyxy), "iscrowd": 0}
        for n, (p, c, *xyxy) in enumerate(found.labels_M6.tolist(), 1)
    ]
    pictures = [{"id": int(p)} for p in _pictures(found)]
    categories = [{"id": c} for c in range(CLASSES[found.name])]
    truth = COCO({"images": pictures, "annotations": annotations, "categories": categories})
    results = [
        {"image_id": int(p), "category_id": int(c), "bbox": _xywh(xyxy), "score": score}
        for p, *xyxy, score, c in found.detections_K7.tolist()
    ]
    evaluation = COCOeval_faster(truth, truth.loadRes(results), iouType="bbox")
    evaluation.params.maxDets = [MAX_DETECTIONS]
    evaluation.evaluate()
    evaluation.accumulate()
    precision_TRC = evaluation.eval["precision"][:, :, :, 0, -1]  # IoU threshold, recall; of objects of any area
    ap_TC = precision_TRC.mean(axis=1)
    return np.stack([ap_TC[0], ap_TC.mean(axis=0)], axis=1)


def _pictures(found: Found) -> np.ndarray:
    return np.union1d(found.detections_K7[:, 0], found.labels_M6[:, 0])


def _xywh(xyxy: list[float]) -> list[float]:
    left, top, right, bottom = xyxy
    return [left, top, right - left, bottom - top]


def _area(xyxy: list[float]) -> float:
    return (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])


def test_the_set_is_worth_comparing_on(found: Found) -> None:
    assert len(found.labels_M6) > 200
    assert len(found.detections_K7) >= 3000
    assert set(found.labels_M6[:, 1]) == set(found.detections_K7[:, 6]) == set(range(CLASSES[found.name]))
    assert 0.2 < ours(found).map50_95 < 0.8, "neither hopeless nor perfect"


def test_the_mean_agrees_with_coco(found: Found) -> None:
    metrics = ours(found)
    map50, map50_95 = coco(found).mean(axis=0)
    assert metrics.map50 == pytest.approx(map50, abs=TOLERANCE)
    assert metrics.map50_95 == pytest.approx(map50_95, abs=TOLERANCE)


def test_every_class_agrees_with_coco(found: Found) -> None:
    rows = [(row.ap50, row.ap50_95) for row in ours(found).classes]
    np.testing.assert_allclose(rows, coco(found), rtol=0, atol=TOLERANCE)
