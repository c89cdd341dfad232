"""Which settings are commented on, which are not, and in what words."""

from typing import Any

import numpy as np
import pytest

from masktrain_trainer.config import Architecture, ModelSpec, TrainingSpec
from masktrain_trainer.data.prepared import TrainingStatistics
from masktrain_trainer.report.build import render_report
from masktrain_trainer.report.evaluation import ClassScores, Evaluation
from masktrain_trainer.train.advice import advice

NAMES = ("mask", "no mask", "incorrect")


def statistics(
    boxes: tuple[int, ...] = (300, 200, 100),
    sides: tuple[float, ...] = (0.2,),
    longer_side: float = 800,
    images: int = 1500,
) -> TrainingStatistics:
    """Sides are fractions of the picture's longer side."""
    return TrainingStatistics(
        NAMES[: len(boxes)], boxes, np.array([(side, side) for side in sides]), longer_side, images
    )


def lines(
    training: dict[str, Any] | None = None,
    found: TrainingStatistics | None = None,
    architecture: Architecture = Architecture.YOLOV5S,
    ranks: int = 1,
    weights: str = "scratch",
) -> list[str]:
    return advice(
        ModelSpec(architecture=architecture, weights=weights),
        TrainingSpec.model_validate(training or {}),
        found or statistics(),
        ranks,
    )


def assert_only(expected: str | None, found: list[str]) -> None:
    """Nothing is said, or one line that holds the expected words."""
    assert len(found) == (expected is not None)
    assert expected is None or expected in found[0]


@pytest.mark.parametrize(
    "training",
    [
        {},
        {"epochs": 300},
        {"epochs": 790, "patience": 100},
        {"epochs": 3000, "patience": 0},
        {"epochs": 3000, "patience": 2500, "schedule": "Cosine"},
        {"epochs": 3000, "hyperparameters": {"finalLearningRateFraction": 1}},
        {"imageSize": 416},
        {"batchSize": 64},
    ],
)
def test_sensible_settings_need_no_advice(training: dict[str, Any]) -> None:
    assert lines(training) == []


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        ({"epochs": 3000, "patience": 100}, "400 epochs, where a Linear schedule over 3000 still has 87% of"),
        ({"epochs": 3000, "patience": 100}, "set training.schedule to Cosine and training.epochs to about 300."),
        ({"epochs": 3000, "patience": 100, "schedule": "Cosine"}, "a Cosine schedule over 3000 still has 96%"),
        ({"epochs": 1000, "patience": 30}, "seldom lasts longer than 330 epochs"),
        ({"epochs": 3000, "hyperparameters": {"finalLearningRateFraction": 0.9}}, "still has 99%"),
    ],
)
def test_a_schedule_that_early_stopping_cuts_off(training: dict[str, Any], expected: str) -> None:
    (line,) = lines(training)
    assert expected in line


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ((1000, 500, 101), None),
        ((1000, 0, 500), None),  # a class without boxes is a warning of the data set's
        ((0, 0, 0), None),
        ((1000,), None),
        ((1000, 500, 100), "mask has 1,000 boxes, up to 10 times as many as incorrect (100); "),
        ((15000, 10, 53), "mask has 15,000 boxes, up to 1500 times as many as no mask (10), incorrect (53); "),
    ],
)
def test_imbalance(boxes: tuple[int, ...], expected: str | None) -> None:
    found = lines(found=statistics(boxes))
    assert_only(expected, found)


@pytest.mark.parametrize(
    ("weights", "images", "expected"),
    [
        ("scratch", 1500, None),
        (
            "scratch",
            1499,
            "from scratch with 1,499 images, where YOLOv5's guide recommends at least 1,500 of each class",
        ),
        ("official", 100, None),
        ("s3://weights/start.pt", 100, None),
    ],
)
def test_from_scratch_on_little_data(weights: str, images: int, expected: str | None) -> None:
    assert_only(expected, lines(found=statistics(images=images), weights=weights))


def test_what_is_switched_on_already_is_not_recommended() -> None:
    imbalanced = statistics((1000, 500, 100))
    assert lines(found=imbalanced)[0].endswith("add pictures of them or set training.imageWeights.")
    assert lines({"imageWeights": True}, imbalanced)[0].endswith("add pictures of them.")
    assert lines({"syncBatchNorm": True, "batchSize": 16}, ranks=4) == []
    assert lines({"autoBatch": True, "batchSize": 4}, ranks=4) == []


def test_of_many_rare_classes_the_rarest_are_named() -> None:
    names = tuple("abcdef")
    (line,) = lines(found=TrainingStatistics(names, (900, 5, 4, 3, 2, 1), np.array([[0.2, 0.2]]), 800, 1500))
    assert "up to 900 times as many as f (1), e (2), d (3) and 2 more;" in line


@pytest.mark.parametrize(
    ("sides", "longer_side", "expected"),
    [
        ((0.0125,), 800, None),  # just 8 px
        ((0.012, *[0.2] * 10), 800, None),
        ((0.012, *[0.2] * 3), 800, "25% of the boxes are smaller than 8 px at training.imageSize 640, "),
        ((0.012, *[0.2] * 3), 800, "; at 672 they would be 0%."),
        ((0.001, 0.001, 0.0115, 0.2), 800, "; at 800 they would be 50%."),
        ((0.001, 0.2), 640, "the pictures have no more pixels to give"),
    ],
)
def test_tiny_boxes(sides: tuple[float, ...], longer_side: float, expected: str | None) -> None:
    found = lines(found=statistics(sides=sides, longer_side=longer_side))
    assert_only(expected, found)


@pytest.mark.parametrize(
    ("architecture", "image_size", "expected"),
    [
        (Architecture.YOLOV5S, 640, None),
        (Architecture.YOLOV5S6, 1280, None),
        (Architecture.YOLOV5S6, 704, None),
        (Architecture.YOLOV5S, 672, "yolov5s is made for 640 px and trains at 672 px: "),
        (Architecture.YOLOV5X, 1280, "yolov5x6 has one more for them."),
        (Architecture.YOLOV5N6, 640, "yolov5n6 is made for 1280 px and trains at 640 px: "),
    ],
)
def test_the_architecture_and_the_image_size(architecture: Architecture, image_size: int, expected: str | None) -> None:
    found = lines({"imageSize": image_size}, statistics(longer_side=1000), architecture)
    assert_only(expected, found)


@pytest.mark.parametrize(
    ("longer_side", "expected"),
    [
        (1279, None),
        (321, None),
        (4000, "longer side is 4000 px on average and training sees it at 640 px: details smaller than 6 px are lost"),
        (320, "training enlarges it to 640 px: that costs 4 times the computing"),
    ],
)
def test_the_pictures_size(longer_side: float, expected: str | None) -> None:
    found = lines(found=statistics(longer_side=longer_side))
    assert_only(expected, found)


@pytest.mark.parametrize(
    ("batch_size", "ranks", "expected"),
    [
        (16, 2, []),
        (8, 1, ["training.batchSize 8 is below 16"]),
        (14, 2, ["training.batchSize 14 is below 16", "Each of the 2 ranks normalises over its own 7 images"]),
        (32, 8, ["Each of the 8 ranks normalises over its own 4 images: set training.syncBatchNorm, or a "]),
    ],
)
def test_small_batches(batch_size: int, ranks: int, expected: list[str]) -> None:
    found = lines({"batchSize": batch_size}, ranks=ranks)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))


def test_advice_is_one_line_each() -> None:
    found = lines(
        {"epochs": 3000, "batchSize": 4, "imageSize": 1280},
        statistics((1000, 10, 1), (0.001,), 5000),
        ranks=2,
    )
    assert len(found) == 7
    assert all("\n" not in line and line.endswith(".") for line in found)


def test_the_report_gives_the_advice() -> None:
    scores = ClassScores(name="all", images=2, labels=3, precision=0.5, recall=0.4, map50=0.45, map50_95=0.2)
    evaluation = Evaluation(
        title="team/masks",
        architecture="yolov5n",
        image_size=64,
        epoch=1,
        epochs_trained=2,
        stopped_early=False,
        overall=scores,
        classes=[scores],
        advice=["Take <more> pictures."],
    )
    assert "Take &lt;more&gt; pictures." in render_report(evaluation, [])
    assert "Advice" not in render_report(evaluation.model_copy(update={"advice": []}), [])


@pytest.mark.parametrize(
    ("auto_anchor", "sides", "expected"),
    [
        (False, (0.2, 0.1), None),
        (False, (0.2, 0.9995 / 640), "50% of the boxes match none of yolov5s's own anchors"),
        (True, (0.2, 0.9995 / 640), None),
    ],
)
def test_boxes_that_no_anchor_matches_are_counted(
    auto_anchor: bool, sides: tuple[float, ...], expected: str | None
) -> None:
    said = [line for line in lines({"autoAnchor": auto_anchor}, statistics(sides=sides)) if "anchor" in line]
    assert_only(expected, said)


@pytest.mark.parametrize(
    ("training", "images", "expected"),
    [
        ({"epochs": 200}, 8, None),
        (
            {"epochs": 199},
            8,
            "The warm-up takes 100 iterations, which are 100 epochs of 1, and training.epochs is 199: ",
        ),
        ({"epochs": 10}, 1600, None),
        (
            {"epochs": 5},
            1600,
            "The warm-up takes 300 iterations, which are 3 epochs of 100, and training.epochs is 5: ",
        ),
        ({"epochs": 199, "hyperparameters": {"warmupMinIterations": 50}}, 8, None),
        ({"epochs": 20, "autoBatch": True}, 8, None),  # the batch is not known yet
    ],
)
def test_a_warm_up_that_takes_most_of_the_training(training: dict[str, Any], images: int, expected: str | None) -> None:
    assert_only(expected, lines(training, statistics(images=images), weights="official"))
