"""README section 6: kept detections and their order, exactly."""

from typing import Any

import numpy as np
import pytest

from masktrain_trainer.predict.suppression import non_max_suppression

from .reference_data import arrays, tensor

VALIDATION: dict[str, Any] = {"confidence_threshold": 0.001, "iou_threshold": 0.6, "multi_label": True}
DETECTION: dict[str, Any] = {"confidence_threshold": 0.25, "iou_threshold": 0.45, "max_detections": 1000}
CASES: dict[str, dict[str, Any]] = {
    "val": VALIDATION,
    "val_uncapped": VALIDATION | {"max_detections": 30000},
    "val_agnostic": VALIDATION | {"agnostic": True},
    "detect": DETECTION,
    "agnostic": DETECTION | {"agnostic": True},
    "classes_0_2": DETECTION | {"classes": [0, 2]},
    "max_det_10": DETECTION | {"max_detections": 10},
    "high_conf": DETECTION | {"confidence_threshold": 0.9},
    "nc1_val": VALIDATION,
    "image0_empty": DETECTION | {"max_detections": 300},
}


@pytest.mark.parametrize("first_prefix", [2048, 64])
@pytest.mark.parametrize("case", CASES)
def test_detections(case: str, first_prefix: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("masktrain_trainer.predict.suppression.FIRST_PREFIX", first_prefix)
    reference = arrays("nms")
    prediction_BNP = tensor(reference["prediction"])
    if case == "nc1_val":
        prediction_BNP = prediction_BNP[..., :6]
    if case == "image0_empty":
        prediction_BNP[0, :, 4] = 0
    for index, detections_K6 in enumerate(non_max_suppression(prediction_BNP, **CASES[case])):
        expected_K6 = reference[f"{case}_{index}"]
        assert detections_K6.shape == expected_K6.shape
        np.testing.assert_allclose(detections_K6.numpy()[:, :4], expected_K6[:, :4], atol=1e-5)
        np.testing.assert_allclose(detections_K6.numpy()[:, 4], expected_K6[:, 4], rtol=1e-6)
        np.testing.assert_array_equal(detections_K6.numpy()[:, 5], expected_K6[:, 5])
