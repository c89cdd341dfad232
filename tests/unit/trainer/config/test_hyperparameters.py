"""Presets, and what a user sets on top of them."""

import json
from typing import Any

import pytest

from masktrain_trainer.config import PRESETS, Hyperparameters, Preset, TrainingSpec


def training(**document: Any) -> TrainingSpec:
    return TrainingSpec.model_validate(document)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        ("Low", {"learning_rate": 0.01, "final_learning_rate_fraction": 0.01, "class_gain": 0.5, "mixup": 0.0}),
        ("Medium", {"final_learning_rate_fraction": 0.1, "objectness_gain": 0.7, "scale": 0.9, "mixup": 0.1}),
        ("High", {"final_learning_rate_fraction": 0.1, "class_gain": 0.3, "scale": 0.9, "mixup": 0.1}),
        ("VOC", {"learning_rate": 0.00334, "momentum": 0.74832, "anchor_threshold": 3.374, "mosaic": 0.858}),
    ],
)
def test_a_preset_is_yolov5s_file(preset: str, expected: dict[str, float]) -> None:
    values = training(preset=preset).hyperparameters
    assert {name: getattr(values, name) for name in expected} == expected
    assert values == PRESETS[Preset(preset)]


def test_the_default_is_low() -> None:
    assert training().hyperparameters == Hyperparameters()


def test_what_is_set_replaces_the_presets_value_alone() -> None:
    values = training(preset="VOC", hyperparameters={"learningRate": 0.02, "mixup": 0}).hyperparameters
    assert (values.learning_rate, values.mixup) == (0.02, 0)
    assert values.model_copy(update={"learning_rate": 0.00334, "mixup": 0.0427}) == PRESETS[Preset.VOC]


def test_setting_the_default_of_another_preset_counts() -> None:
    """0.01 is Low's value; a document that said it by itself would hide VOC's."""
    assert training(preset="VOC", hyperparameters={"learningRate": 0.01}).hyperparameters.learning_rate == 0.01


def test_unset_stays_unset_on_the_way_to_the_pods() -> None:
    document = json.loads(training(preset="VOC", hyperparameters={"learningRate": 0.02}).to_json())
    assert document["hyperparameters"] == {"learningRate": 0.02}
    assert TrainingSpec.model_validate(document).hyperparameters.momentum == 0.74832


def test_the_record_says_what_was_in_force() -> None:
    record = training(preset="VOC", hyperparameters={"learningRate": 0.02}).resolved()
    assert (record["preset"], record["hyperparameters"]["learningRate"]) == ("VOC", 0.02)
    assert record["hyperparameters"]["momentum"] == 0.74832
    assert set(record["hyperparameters"]) == {field.alias for field in Hyperparameters.model_fields.values()}


def test_bounds_are_those_of_the_hyperparameter() -> None:
    with pytest.raises(ValueError, match=r"hyperparameters\.learningRate"):
        training(hyperparameters={"learningRate": 0})
