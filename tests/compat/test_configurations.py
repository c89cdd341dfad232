"""The pods' configuration between versions: an earlier operator's under this trainer, and the other way round.

The second matters as much: `compute.image` pins a trainer, and an upgraded operator goes on starting it.
"""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.manifests.job import job_manifest
from masktrain_trainer.config import CONFIG_VARIABLE, Architecture, Keep, Optimizer, Preset, RunConfig
from tests.compat.conftest import recorded
from tests.compat.schema import complaints
from tests.unit.operator.core.manifests.test_golden import SMALL, WHOLE
from tests.unit.operator.manifests import SETTINGS, training_job

VALUES: dict[str, str] = recorded("configurations")
EARLIER_SCHEMA = recorded("run-config.schema")


def as_the_pod_sees_it(value: str) -> str:
    """Kubernetes takes `$$` for a dollar."""
    return value.replace("$$", "$")


def configuration(job: MaskTrainingJob) -> Any:
    """What this operator hands to the job's pods."""
    environment = job_manifest(job, 3, SETTINGS)["spec"]["template"]["spec"]["containers"][0]["env"]
    (value,) = [variable["value"] for variable in environment if variable["name"] == CONFIG_VARIABLE]
    return json.loads(as_the_pod_sees_it(value))


def everything() -> MaskTrainingJob:
    """A job with every field set that the earlier version has, as it was stored."""
    document = json.loads(as_the_pod_sees_it(VALUES["everything"]))
    limits = {name: document[name] for name in ("hangTimeoutSeconds", "stopGraceSeconds")}
    return training_job(
        status={"observedGeneration": 1},
        limits=limits,
        **{name: document[name] for name in ("model", "dataset", "training", "checkpoint")},
    )


JOBS = {"small": SMALL, "whole": WHOLE, "everything": everything()}


@pytest.mark.parametrize("name", VALUES)
def test_an_earlier_operators_configuration_means_the_same_here(name: str) -> None:
    found = RunConfig.model_validate_json(as_the_pod_sees_it(VALUES[name]))
    assert found == RunConfig.model_validate(configuration(JOBS[name]))
    assert (found.namespace, found.name, found.attempt) == ("vision", "masks", 3)


def test_every_field_of_an_earlier_configuration_is_read() -> None:
    found = RunConfig.model_validate_json(as_the_pod_sees_it(VALUES["everything"]))
    assert (found.model.architecture, found.model.weights) == (Architecture.YOLOV5M6, "s3://weights/start.pt")
    assert found.dataset.uri == "oci://data@tenancy/a$b.zip"
    training = found.training
    assert (training.optimizer, training.preset, training.workers) == (Optimizer.ADAMW, Preset.VOC, 2)
    assert (training.hyperparameters.learning_rate, training.hyperparameters.mixup) == (0.02, 0.25)
    assert (found.checkpoint.keep, found.hang_timeout_seconds, found.stop_grace_seconds) == (Keep.ALL, 100, 60)


@pytest.mark.parametrize("name", JOBS)
def test_an_earlier_trainer_takes_this_operators_configuration(name: str) -> None:
    assert complaints(configuration(JOBS[name]), EARLIER_SCHEMA) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"attempt": -1}, ": -1 breaks minimum 0"),
        ({"attempt": "1"}, ": '1' is no integer"),
        ({"later": 1}, ".later is unknown"),
        ({"model": {"architecture": "yolov9"}}, ": 'yolov9' breaks enum"),
        ({"training": {"hyperparameters": {"mixup": 2}}}, "is none of the allowed kinds"),
        ({"dataset": {}}, ".uri is missing"),
    ],
)
def test_the_check_itself_can_fail(change: dict[str, Any], complaint: str) -> None:
    (found,) = complaints({**configuration(SMALL), **change}, EARLIER_SCHEMA)
    assert complaint in found


def test_what_is_left_out_means_the_same_to_both() -> None:
    """A default that this version changed would train something else on an earlier image."""
    earlier, present = dict(defaults(EARLIER_SCHEMA)), dict(defaults(RunConfig.model_json_schema()))
    assert {path: present[path] for path in earlier if path in present} == earlier


def defaults(root: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every field's default, by model and field."""
    for model, schema in {"RunConfig": root, **root["$defs"]}.items():
        for field, found in schema.get("properties", {}).items():
            if "default" in found:
                yield f"{model}.{field}", found["default"]
