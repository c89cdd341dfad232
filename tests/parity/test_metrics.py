"""README section 7: AP and its companions, the matching rule, the confusion matrix."""

import numpy as np
import pytest

from masktrain_trainer.model.boxes import pairwise_iou
from masktrain_trainer.model.metrics import DetectionMetrics, DetectionStatistics, confusion_matrix, match_detections

from .reference_data import arrays, tensor


def statistics_of(case: str) -> DetectionStatistics:
    reference = arrays("metrics")
    return DetectionStatistics(
        correct=reference[f"{case}_tp"],
        confidence=reference[f"{case}_conf"],
        predicted_class=reference[f"{case}_pred_cls"],
        true_class=reference[f"{case}_target_cls"],
    )


@pytest.mark.parametrize("case", ["a", "b"])
def test_metrics_per_class_and_mean(case: str) -> None:
    reference = arrays("metrics")
    metrics = DetectionMetrics.from_statistics(statistics_of(case))
    rows = metrics.classes
    expected = {key: reference[f"{case}_{key}"] for key in ("classes", "p", "r", "f1", "ap", "out_tp", "out_fp")}
    assert [row.class_index for row in rows] == list(expected["classes"])
    np.testing.assert_allclose([row.precision for row in rows], expected["p"], atol=1e-9)
    np.testing.assert_allclose([row.recall for row in rows], expected["r"], atol=1e-9)
    np.testing.assert_allclose([row.f1 for row in rows], expected["f1"], atol=1e-9)
    np.testing.assert_allclose([row.average_precisions for row in rows], expected["ap"], atol=1e-9)
    right = [round(row.recall * row.labels) for row in rows]
    found = [round(count / (row.precision + 1e-16)) for count, row in zip(right, rows, strict=True)]
    assert right == list(expected["out_tp"])
    assert [all_ - count for all_, count in zip(found, right, strict=True)] == list(expected["out_fp"])
    mean = (metrics.precision, metrics.recall, metrics.map50, metrics.map50_95)
    np.testing.assert_allclose(mean, reference[f"{case}_mean"], atol=1e-9)
    np.testing.assert_allclose(metrics.fitness, reference[f"{case}_fitness"].item(), atol=1e-9)


def test_matching() -> None:
    reference = arrays("metrics")
    detections, labels = tensor(reference["match_detections"]), tensor(reference["match_labels"])
    iou_LK = pairwise_iou(labels[:, 1:], detections[:, :4])
    np.testing.assert_allclose(iou_LK.numpy(), reference["match_iou"], atol=1e-6)
    decided = ~reference["match_tie_sensitive"]
    correct_KT = match_detections(detections, labels).numpy()
    np.testing.assert_array_equal(correct_KT[decided], reference["match_correct"][decided])


def test_confusion() -> None:
    reference = arrays("metrics")
    actual = confusion_matrix(tensor(reference["match_detections"]), tensor(reference["match_labels"]), 3)
    np.testing.assert_array_equal(actual.numpy(), reference["match_confusion"])


def test_confusion_without_any_match() -> None:
    reference = arrays("metrics")
    detections = tensor(reference["confusion_nomatch_detections"])
    labels = tensor(reference["confusion_nomatch_labels"])
    np.testing.assert_array_equal(confusion_matrix(detections, labels, 3).numpy(), reference["confusion_nomatch"])
    nothing = confusion_matrix(detections[:0], labels, 3)
    np.testing.assert_array_equal(nothing.numpy(), reference["confusion_nodetections"])
