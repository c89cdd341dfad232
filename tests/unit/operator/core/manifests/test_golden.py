"""The manifests that the operator creates, compared word by word with those a reviewer can read.

`UPDATE_GOLDEN=1 pytest tests/unit/operator/core/manifests/test_golden.py` writes them anew.
"""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.manifests.job import job_manifest, network_policy_manifest, run_config, service_manifest
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import CONFIG_VARIABLE, WEIGHTS_MIRROR_VARIABLE, RunConfig
from tests.unit.operator.manifests import SETTINGS, training_job

GOLDEN = Path(__file__).parents[4] / "golden"

SMALL = training_job(compute={})
OPERATOR = {
    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "masktrain-system"}},
    "podSelector": {"matchLabels": {"app.kubernetes.io/name": "masktrain-operator"}},
}
WHOLE = training_job(
    dataset={
        "uri": "s3://datasets/masks.zip",
        "store": {"endpoint": "https://objects.example.com", "credentialsSecretRef": {"name": "dataset-store"}},
    },
    checkpoint={
        "uri": "file:///checkpoints/masks",
        "store": {"credentialsSecretRef": {"name": "checkpoint-store"}},
    },
    compute={
        "nodes": 4,
        "gpusPerNode": 2,
        "gpuResource": "amd.com/gpu",
        "image": "registry.example.com/trainer:1",
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": 8, "memory": "32Gi"}, "limits": {"memory": "64Gi"}},
        "env": [
            {"name": "NCCL_DEBUG", "value": "INFO"},
            {"name": "HOME", "value": "/workspace"},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "token"}}},
        ],
        "nodeSelector": {"gpu": "a100"},
        "tolerations": [{"key": "team", "value": "vision", "effect": "NoSchedule"}],
        "priorityClassName": "training",
        "serviceAccountName": "trainer",
        "sharedMemory": "16Gi",
        "persistentVolumeClaims": [
            {"claimName": "checkpoints", "mountPath": "/checkpoints"},
            {"claimName": "weights", "mountPath": "/weights", "readOnly": True},
        ],
    },
    limits={"stopGraceSeconds": 300},
)


@pytest.mark.parametrize(
    ("name", "manifest"),
    [
        ("job-small.yaml", job_manifest(SMALL, 0, SETTINGS)),
        ("job-whole.yaml", job_manifest(WHOLE, 3, SETTINGS)),
        ("service.yaml", service_manifest(SMALL)),
        ("network-policy.yaml", network_policy_manifest(SMALL, replace(SETTINGS, progress_clients=(OPERATOR,)))),
    ],
)
def test_manifest_is_the_golden_one(name: str, manifest: Manifest) -> None:
    text = yaml.safe_dump(manifest, sort_keys=False, width=120)
    if os.environ.get("UPDATE_GOLDEN"):
        (GOLDEN / name).write_text(text, encoding="utf-8")
    assert text == (GOLDEN / name).read_text(encoding="utf-8")


def test_only_a_limit_gives_the_batch_job_a_deadline() -> None:
    assert "activeDeadlineSeconds" not in job_manifest(SMALL, 0, SETTINGS)["spec"]
    assert job_manifest(SMALL, 0, SETTINGS, deadline_seconds=720)["spec"]["activeDeadlineSeconds"] == 720


@pytest.mark.parametrize("job", [SMALL, WHOLE], ids=["small", "whole"])
def test_a_users_variable_takes_the_place_of_a_default(job: MaskTrainingJob) -> None:
    container = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]["containers"][0]
    names = [variable["name"] for variable in container["env"]]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("job", [SMALL, WHOLE], ids=["small", "whole"])
def test_the_configuration_without_defaults_is_read_as_the_one_with_them(job: MaskTrainingJob) -> None:
    container = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]["containers"][0]
    written = next(variable["value"] for variable in container["env"] if variable["name"] == CONFIG_VARIABLE)
    assert RunConfig.model_validate_json(written) == run_config(job, 0)
    assert "gpuAugmentation" not in written, "an image that does not know it has nothing to refuse"


@pytest.mark.parametrize(
    ("weights", "env", "told"),
    [
        ("official", [], ["s3://weights/v7.0"]),
        ("scratch", [], []),
        ("s3://weights/mine.pt", [], []),
        (
            "official",
            [{"name": WEIGHTS_MIRROR_VARIABLE, "value": "https://ours.example.com"}],
            ["https://ours.example.com"],
        ),
    ],
)
def test_jobs_with_official_weights_are_told_of_the_mirror(weights: str, env: list[Manifest], told: list[str]) -> None:
    job = training_job(model={"weights": weights}, compute={"env": env})
    settings = replace(SETTINGS, weights_mirror="s3://weights/v7.0")
    container = job_manifest(job, 0, settings)["spec"]["template"]["spec"]["containers"][0]
    assert [v["value"] for v in container["env"] if v["name"] == WEIGHTS_MIRROR_VARIABLE] == told


def test_a_new_job_tells_an_earlier_image_that_its_weights_are_official() -> None:
    """To it a configuration without weights means scratch."""
    assert '"weights":"official"' in _configuration(training_job(model={}))
    assert '"weights"' not in _configuration(training_job(model={"weights": "scratch"}))


def _configuration(job: MaskTrainingJob) -> str:
    container = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]["containers"][0]
    written: str = next(variable["value"] for variable in container["env"] if variable["name"] == CONFIG_VARIABLE)
    return written


def test_the_users_limits_bound_the_workspace_and_replace_the_least_requests() -> None:
    limits = {"memory": "1Gi", "ephemeral-storage": "2Ti"}
    pod = job_manifest(training_job(compute={"resources": {"limits": limits}}), 0, SETTINGS)["spec"]["template"]["spec"]
    (workspace,) = [volume["emptyDir"] for volume in pod["volumes"] if volume["name"] == "workspace"]
    assert workspace == {"sizeLimit": "2Ti"}
    assert set(pod["containers"][0]["resources"]["requests"]) == {"nvidia.com/gpu"}
