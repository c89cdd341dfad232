"""What the API server takes and refuses, and in which words: bad input has to end at `kubectl apply`."""

from typing import Any

import pytest
import yaml

from tests.api.objects import Manifest, Namespace, training_job
from tests.devcluster.cluster import ClusterError
from tests.devcluster.layout import REPOSITORY

pytestmark = pytest.mark.api

CLAIM = {"claimName": "data", "mountPath": "/mnt/data"}
ON_FILES = training_job(
    "files",
    dataset={"uri": "file:///mnt/data/masks.zip", "store": None},
    checkpoint={"uri": "file:///mnt/data/out", "store": None},
    compute={"persistentVolumeClaims": [CLAIM]},
)


def on_files(**compute: Any) -> Manifest:
    return ON_FILES | {"spec": ON_FILES["spec"] | {"compute": ON_FILES["spec"]["compute"] | compute}}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "examples").glob("*/job*.yaml")), ids=lambda p: p.parent.name)
def test_every_example_is_accepted(namespace: Namespace, path: Any) -> None:
    namespace.create(yaml.safe_load(path.read_text()), "--dry-run=server")


@pytest.mark.parametrize(
    "manifest",
    [
        training_job(),
        training_job("a" * 50),
        training_job(model={"architecture": "yolov5s6"}, training={"imageSize": 1280}),
        training_job(compute={"nodes": 2, "gpusPerNode": 4}, training={"batchSize": 64}),
        training_job(
            compute={"env": [{"name": "A", "value": "1"}], "resources": {"limits": {"cpu": 4, "memory": "1Gi"}}}
        ),
        ON_FILES,
    ],
    ids=["least", "longest-name", "six", "eight-gpus", "env-and-resources", "files"],
)
def test_good_jobs_are_accepted(namespace: Namespace, manifest: Manifest) -> None:
    namespace.create(manifest, "--dry-run=server")


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        (training_job("a" * 51), "at most 50 characters"),
        (training_job("1st"), "starting with a letter"),
        (training_job("a.b"), "lower-case letters, digits and '-'"),
        (training_job(training={"batchSize": 15}), "a multiple of compute.nodes x compute.gpusPerNode"),
        (training_job(model={"architecture": "yolov5n6"}, training={"imageSize": 96}), "a multiple of 64"),
        (training_job(compute={"env": [{"name": "RANK", "value": "0"}]}), "that the launch itself sets"),
        (
            training_job(
                compute={
                    "env": [
                        {"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "key"}}}
                    ]
                }
            ),
            "either a value or a valueFrom",
        ),
        (training_job(compute={"resources": {"limits": {"nvidia.com/gpu": 1}}}), "compute.gpusPerNode says how many"),
        (on_files(persistentVolumeClaims=[]), "must lie below the mountPath"),
        (on_files(persistentVolumeClaims=[CLAIM | {"mountPath": "/mnt/dat"}]), "must lie below the mountPath"),
        (on_files(persistentVolumeClaims=[CLAIM | {"readOnly": True}]), "that is not readOnly"),
        (on_files(persistentVolumeClaims=[CLAIM, CLAIM | {"mountPath": "/workspace/x"}]), "pods use themselves"),
        (training_job(dataset={"uri": "http://example.com/masks.zip"}), "spec.dataset.uri"),
        (training_job(training={"imageSize": 100}), "multiple of 32"),
        (training_job(training={"hyperparameters": {"learningRate": 0}}), "learningRate"),
        (training_job(model={"architecture": "yolov8n"}), "Unsupported value"),
        (training_job(compute={"nodes": 65}), "less than or equal to 64"),
        (training_job(training={"epoch": 3}), "unknown field"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_bad_jobs_are_refused_in_our_words(namespace: Namespace, manifest: Manifest, words: str) -> None:
    with pytest.raises(ClusterError, match=r"invalid|unknown field") as refusal:
        namespace.create(manifest, "--dry-run=server")
    assert words in str(refusal.value)


def test_defaults_stand_in_the_stored_object(namespace: Namespace) -> None:
    spec = namespace.create(training_job(), "--dry-run=server")["spec"]
    assert spec["model"] == {"architecture": "yolov5s", "weights": "scratch"}
    assert spec["training"]["hyperparameters"]["learningRate"] == 0.01
    assert spec["limits"]["stopGraceSeconds"] == 120
    assert "image" not in spec["compute"]


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("training", {"epochs": 5}),
        ("dataset", {"uri": "s3://datasets/other.zip"}),
        ("dataset", {"sha256": "0" * 64}),
        ("checkpoint", {"keep": "All"}),
        ("model", {"architecture": "yolov5n"}),
        ("compute", {"nodes": 1}),
        ("compute", {"serviceAccountName": "added-later"}),
        ("compute", {"priorityClassName": None}),
        ("compute", {"priorityClassName": "other"}),
    ],
    ids=str,
)
def test_what_shapes_the_training_cannot_change(namespace: Namespace, section: str, change: Manifest) -> None:
    """Removing an optional field is refused too: otherwise it could be added again with another value."""
    namespace.create(training_job(compute={"priorityClassName": "first"}))
    with pytest.raises(ClusterError, match="cannot change once the job exists"):
        namespace.patch("mtj/masks", {"spec": {section: change}})


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("limits", {"stopGraceSeconds": 60, "ttlSecondsAfterFinished": 5}),
        ("compute", {"image": "other:1"}),
        ("compute", {"env": [{"name": "NCCL_DEBUG", "value": "INFO"}]}),
        ("compute", {"nodeSelector": {"zone": "a"}, "tolerations": [{"key": "spot", "operator": "Exists"}]}),
        ("compute", {"resources": {"limits": {"memory": "2Gi"}}}),
    ],
    ids=str,
)
def test_what_takes_effect_at_the_next_attempt_can_change(namespace: Namespace, section: str, change: Manifest) -> None:
    namespace.create(training_job())
    namespace.patch("mtj/masks", {"spec": {section: change}})


def test_short_name_and_columns(namespace: Namespace) -> None:
    namespace.create(training_job())
    header = namespace.kubectl("get", "mtj").splitlines()[0].split()
    assert header == ["NAME", "STATE", "EPOCH", "MAP50", "RESTARTS", "AGE"]
