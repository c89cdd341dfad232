"""Matching and averaging on cases small enough to check by hand, and pooling over ranks."""

import numpy as np
import pytest
import torch
from torch import Tensor

from masktrain_trainer.model.metrics import (
    IOU_THRESHOLDS,
    DetectionMetrics,
    DetectionStatistics,
    confusion_matrix,
    match_detections,
)

LABEL = [10.0, 10.0, 20.0, 20.0]


def detection(box: list[float], confidence: float, class_index: int = 0) -> list[float]:
    return [*box, confidence, class_index]


def tensors(detections: list[list[float]], labels: list[list[float]]) -> tuple[Tensor, Tensor]:
    return torch.tensor(detections).view(-1, 6), torch.tensor(labels).view(-1, 5)


def metrics_of(*images: tuple[list[list[float]], list[list[float]]]) -> DetectionMetrics:
    parts = [DetectionStatistics.of_image(*tensors(*image)) for image in images]
    return DetectionMetrics.from_statistics(DetectionStatistics.concatenate(parts))


def test_perfect_detections_score_one() -> None:
    metrics = metrics_of(([detection(LABEL, 0.9), detection(LABEL, 0.8, 1)], [[0, *LABEL], [1, *LABEL]]))
    assert metrics.map50 == pytest.approx(
        0.995
    )  # the curve ends at recall 1 with precision 0: half a trapezoid is lost
    assert metrics.map50_95 == pytest.approx(0.995)
    assert metrics.fitness == pytest.approx(0.995)
    assert metrics.precision == metrics.recall == 1
    assert [(row.class_index, row.labels) for row in metrics.classes] == [(0, 1), (1, 1)]


def test_the_most_confident_claimant_is_right_not_the_closest() -> None:
    loose = [10.0, 10.0, 20.0, 24.0]
    correct_KT = match_detections(*tensors([detection(loose, 0.9), detection(LABEL, 0.8)], [[0, *LABEL]]))
    assert correct_KT[:, 0].tolist() == [True, False]
    assert correct_KT[:, -1].tolist() == [False, True]  # at IoU 0.95 only the close one claims the label


def test_another_class_does_not_match() -> None:
    assert not match_detections(*tensors([detection(LABEL, 0.9, 1)], [[0, *LABEL]])).any()


@pytest.mark.parametrize(("detections", "labels"), [([], []), ([detection(LABEL, 0.9)], []), ([], [[0.0, *LABEL]])])
def test_empty_sides(detections: list[list[float]], labels: list[list[float]]) -> None:
    statistics = DetectionStatistics.of_image(*tensors(detections, labels))
    assert statistics.correct.shape == (len(detections), len(IOU_THRESHOLDS))
    metrics = DetectionMetrics.from_statistics(statistics)
    assert metrics.fitness == metrics.precision == metrics.recall == 0
    assert metrics.labels == len(labels)


def test_a_class_without_labels_has_the_mean_of_the_others() -> None:
    metrics = metrics_of(([detection(LABEL, 0.9), detection(LABEL, 0.8, 2)], [[0, *LABEL], [2, *LABEL], [2, *LABEL]]))
    assert metrics.class_map(4) == [
        metrics.classes[0].ap50_95,
        metrics.map50_95,
        metrics.classes[1].ap50_95,
        metrics.map50_95,
    ]
    assert DetectionMetrics.from_statistics(DetectionStatistics.concatenate([])).class_map(2) == [0, 0]


def test_no_images_at_all() -> None:
    metrics = DetectionMetrics.from_statistics(DetectionStatistics.concatenate([]))
    assert metrics.classes == ()
    assert metrics.fitness == 0


def test_shards_pool_to_the_same_metrics() -> None:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(12):
        labels = [[float(rng.integers(3)), *(LABEL + rng.uniform(0, 60, 1).repeat(4))] for _ in range(3)]
        found = [detection([v + rng.normal(0, 1) for v in row[1:]], rng.uniform(0.1, 1), int(row[0])) for row in labels]
        images.append((sorted(found, key=lambda row: -row[4]), labels))
    whole = metrics_of(*images)
    assert whole == metrics_of(*images[1::2], *images[0::2])
    assert 0 < whole.map50_95 < 1


def test_confusion_counts_by_hand() -> None:
    elsewhere = [50.0, 50.0, 60.0, 60.0]
    detections, labels = tensors(
        [detection(LABEL, 0.9, 1), detection(elsewhere, 0.8, 0), detection(LABEL, 0.2, 0)],
        [[0, *LABEL], [1, 30.0, 30.0, 40.0, 40.0]],
    )
    counts = confusion_matrix(detections, labels, num_classes=2)
    # class 0 taken for 1; background taken for 0; class 1 missed; the third detection is not confident enough
    assert counts.tolist() == [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


def test_confusion_adds_up_over_images_and_skips_those_without_labels() -> None:
    detections, labels = tensors([detection(LABEL, 0.9)], [[0, *LABEL]])
    one = confusion_matrix(detections, labels, num_classes=1)
    assert one.tolist() == [[1, 0], [0, 0]]
    assert confusion_matrix(detections, labels[:0], num_classes=1).sum() == 0
