"""What a person reads who misspelt a field of a job."""

from typing import Any

import pytest
from pydantic import ValidationError

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.config.explain import YOLOV5_NAMES, explain

TRAINING = "spec.training"
HYPERPARAMETERS = f"{TRAINING}.hyperparameters"


def sentences(training: dict[str, Any] | None = None, **spec: Any) -> list[str]:
    metadata = {"name": "job", "namespace": "team", "uid": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    whole = {
        "dataset": {"uri": "file:///data.zip"},
        "checkpoint": {"uri": "file:///store"},
        "training": training or {},
        **spec,
    }
    with pytest.raises(ValidationError) as caught:
        MaskTrainingJob.parse({"metadata": metadata, "spec": whole})
    return explain(caught.value, MaskTrainingJob)


@pytest.mark.parametrize(
    ("training", "section", "name", "suggestion"),
    [
        ({"hyperparameters": {"learningRat": 1}}, HYPERPARAMETERS, "learningRat", f"{HYPERPARAMETERS}.learningRate"),
        ({"hyperparameters": {"weight_decai": 1}}, HYPERPARAMETERS, "weight_decai", f"{HYPERPARAMETERS}.weightDecay"),
        ({"hyperparameters": {"lr0": 0.1}}, HYPERPARAMETERS, "lr0", f"{HYPERPARAMETERS}.learningRate"),
        ({"hyperparameters": {"imgsz": 640}}, HYPERPARAMETERS, "imgsz", f"{TRAINING}.imageSize"),
        ({"learningRate": 0.1}, TRAINING, "learningRate", f"{HYPERPARAMETERS}.learningRate"),
        ({"uri": "file:///data.zip"}, TRAINING, "uri", "spec.dataset.uri"),
        ({"batch-size": 4}, TRAINING, "batch-size", f"{TRAINING}.batchSize"),
        ({"BatchSize": 4}, TRAINING, "BatchSize", f"{TRAINING}.batchSize"),
        ({"cos-lr": True}, TRAINING, "cos-lr", f"{TRAINING}.schedule"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(
    training: dict[str, Any], section: str, name: str, suggestion: str
) -> None:
    assert sentences(training) == [f"{section} has no field {name!r}; did you mean {suggestion}?"]


@pytest.mark.parametrize(
    ("training", "expected"),
    [
        (
            {"schedule": "cosine"},
            f"{TRAINING}.schedule: input should be 'Linear' or 'Cosine', not 'cosine'; the nearest is 'Cosine'.",
        ),
        ({"imageSize": 650}, f"{TRAINING}.imageSize: input should be a multiple of 32, not 650; the next one is 672."),
        (
            {"epochs": "many"},
            f"{TRAINING}.epochs: input should be a valid integer, unable to parse string as an integer, not 'many'.",
        ),
        ({"hyperparameters": []}, f"{HYPERPARAMETERS}: input should be a valid dictionary or instance of "),
    ],
)
def test_a_wrong_value_is_shown(training: dict[str, Any], expected: str) -> None:
    (sentence,) = sentences(training)
    assert sentence.startswith(expected)


def test_a_missing_field_is_explained() -> None:
    (sentence,) = sentences(checkpoint={"keep": "Best"})
    assert sentence == (
        "spec.checkpoint.uri is missing (Prefix under which checkpoints, best.pt and results are written)."
    )


def test_a_name_unlike_any_other_is_answered_with_all() -> None:
    (sentence,) = sentences(model={"zzz": 1})
    assert sentence.startswith("spec.model has no field 'zzz'; it has architecture, weights,")


def test_fields_inside_lists_are_numbered() -> None:
    (sentence,) = sentences(compute={"tolerations": [{"key": "a"}, {"efect": "NoSchedule"}]})
    assert sentence.endswith("did you mean spec.compute.tolerations[1].effect?")


def test_every_mistake_gets_its_sentence() -> None:
    assert len(sentences({"epoch": 3, "imgsz": 640, "hyperparameters": {"flipud": 1}})) == 3


def test_yolov5s_hyperparameters_have_a_name_here() -> None:
    own = {field.alias for field in Hyperparameters.model_fields.values()}
    hyperparameters = [name for old, name in YOLOV5_NAMES.items() if old.startswith(("lr", "hsv", "cls", "obj", "fl"))]
    assert set(hyperparameters) <= own


@pytest.mark.parametrize(
    "written",
    ["http://app.roboflow.com/ds/abc?key=hunter2", "HTTPS://app.roboflow.com/ds/abc?key=hunter2",
     " https://app.roboflow.com/ds/abc?key=hunter2", 'curl -L "https://app.roboflow.com/ds/abc?key=hunter2" > set.zip'],
)  # fmt: skip
def test_what_is_no_link_is_said_without_the_key_in_it(written: str) -> None:
    (sentence,) = sentences(dataset={"uri": written})
    assert "hunter2" not in sentence
    assert "app.roboflow.com/ds/abc" in sentence
    (sentence,) = sentences(dataset={"uriSecretRef": written})
    assert "hunter2" not in sentence
