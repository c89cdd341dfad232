"""Our mAP beside COCO's own evaluation, on the detections of a trained model.

`reference/drawn_masks.npz` holds what a yolov5n, trained for 24 epochs on pictures of `examples/masks` at 160 px, finds
in 150 others: up to 100 detections per picture from confidence 0.005 on, and all labels, in pixels. COCO matches
differently: a detection may take any label of its class that is still free, and AP is a mean over 101 recall points
without interpolation between them. On real detections that is a matter of thousandths.
"""

from pathlib import Path

import numpy as np
import pytest
import torch
from faster_coco_eval import COCO, COCOeval_faster

from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics

REFERENCE = Path(__file__).parent / "reference" / "drawn_masks.npz"
TOLERANCE = 0.01


@pytest.fixture(scope="module")
def detections_K7() -> np.ndarray:
    """Picture, xyxy, confidence, class."""
    with np.load(REFERENCE) as file:
        return np.array(file["detections"])


@pytest.fixture(scope="module")
def labels_M6() -> np.ndarray:
    """Picture, class, xyxy."""
    with np.load(REFERENCE) as file:
        return np.array(file["labels"])


def ours(detections_K7: np.ndarray, labels_M6: np.ndarray) -> DetectionMetrics:
    def of_picture(picture: float) -> DetectionStatistics:
        found_K6 = detections_K7[detections_K7[:, 0] == picture][:, 1:]
        best_first = np.argsort(-found_K6[:, 4], kind="stable")
        labels_L5 = labels_M6[labels_M6[:, 0] == picture][:, 1:]
        return DetectionStatistics.of_image(torch.from_numpy(found_K6[best_first]), torch.from_numpy(labels_L5))

    pictures = np.union1d(detections_K7[:, 0], labels_M6[:, 0])
    return DetectionMetrics.from_statistics(DetectionStatistics.concatenate([of_picture(p) for p in pictures]))


def coco(detections_K7: np.ndarray, labels_M6: np.ndarray, classes: list[int]) -> tuple[float, float]:
    """mAP50 and mAP50-95 of some classes."""
    annotations = [
        {"id": n, "image_id": int(p), "category_id": int(c), "bbox": _xywh(xyxy), "area": _area(xyxy), "iscrowd": 0}
        for n, (p, c, *xyxy) in enumerate(labels_M6.tolist(), 1)
    ]
    pictures = [{"id": int(p)} for p in np.union1d(detections_K7[:, 0], labels_M6[:, 0])]
    truth = COCO({"images": pictures, "annotations": annotations, "categories": [{"id": c} for c in range(3)]})
    found = truth.loadRes(
        [
            {"image_id": int(p), "category_id": int(c), "bbox": _xywh(xyxy), "score": score}
            for p, *xyxy, score, c in detections_K7.tolist()
        ]
    )
    evaluation = COCOeval_faster(truth, found, iouType="bbox")
    evaluation.params.catIds = classes
    evaluation.run()
    return float(evaluation.stats[1]), float(evaluation.stats[0])


def _xywh(xyxy: list[float]) -> list[float]:
    left, top, right, bottom = xyxy
    return [left, top, right - left, bottom - top]


def _area(xyxy: list[float]) -> float:
    return (xyxy[2] - xyxy[0]) * (xyxy[3] - xyxy[1])


def test_the_set_is_worth_comparing_on(detections_K7: np.ndarray, labels_M6: np.ndarray) -> None:
    assert len(labels_M6) > 300
    assert len(detections_K7) > 3000
    assert set(labels_M6[:, 1]) == set(detections_K7[:, 6]) == {0.0, 1.0, 2.0}
    assert 0.2 < ours(detections_K7, labels_M6).map50_95 < 0.8, "neither hopeless nor perfect"


def test_the_mean_agrees_with_coco(detections_K7: np.ndarray, labels_M6: np.ndarray) -> None:
    metrics = ours(detections_K7, labels_M6)
    map50, map50_95 = coco(detections_K7, labels_M6, [0, 1, 2])
    assert metrics.map50 == pytest.approx(map50, abs=TOLERANCE)
    assert metrics.map50_95 == pytest.approx(map50_95, abs=TOLERANCE)


@pytest.mark.parametrize("class_index", [0, 1, 2])
def test_every_class_agrees_with_coco(detections_K7: np.ndarray, labels_M6: np.ndarray, class_index: int) -> None:
    row = ours(detections_K7, labels_M6).classes[class_index]
    map50, map50_95 = coco(detections_K7, labels_M6, [class_index])
    assert row.ap50 == pytest.approx(map50, abs=TOLERANCE)
    assert row.ap50_95 == pytest.approx(map50_95, abs=TOLERANCE)
