"""What the API server accepts, completes and refuses, with the words a person reads."""

import copy
import json
from typing import Any

import pytest
import yaml

from devcluster.cluster import ClusterError
from devcluster.layout import REPOSITORY
from masktrain_operator.api.spec import IMMUTABLE_COMPUTE, IMMUTABLE_SECTIONS, object_rules, spec_rules
from tests.api.namespace import ApiNamespace
from tests.api.training_jobs import change, training_job

pytestmark = pytest.mark.api

EXAMPLES = sorted(REPOSITORY.glob("examples/*/job.yaml"))
CLAIM = {"claimName": "data", "mountPath": "/data"}
LINK = {"uriSecretRef": {"name": "roboflow", "key": "link"}}

GOOD: dict[str, dict[str, Any]] = {
    "least": {},
    "longest name": {"name": "a" * 50},
    "weights of the release": {"model__weights": "official"},
    "a ServiceAccount": {
        "checkpoint__uri": "oci://checkpoints@axvision",
        "checkpoint__store": {"auth": "WorkloadIdentity", "region": "eu-frankfurt-1"},
    },
    "an API key": {
        "checkpoint__uri": "oci://checkpoints@axvision",
        "checkpoint__store": {"auth": "Secret", "credentialsSecretRef": {"name": "oracle"}},
    },
    "weights behind a signed URL": {"model__weightsSecretRef": {"name": "weights", "key": "url"}},
    "weights behind a signed URL, stored when scratch was the default": {
        "model__weights": "scratch",
        "model__weightsSecretRef": {"name": "weights", "key": "url"},
    },
    "weights in a folder of Oracle's": {
        "model__weights": "https://objectstorage.us-ashburn-1.oraclecloud.com/n/axvision/b/weights/o/runs%2F7%2Fbest.pt"
    },
    "data behind a link": {"dataset__uri": "https://example.com/a%20b/masks.zip"},
    "data behind a link with a key": {"dataset": LINK},
    "a checksum in capitals": {"dataset__sha256": "AB" * 32},
    "a checksum as registries print it": {"model__sha256": "sha256:" + "ab" * 32},
    "weights from the web": {"model__weights": "https://example.com/yolov5s.pt"},
    "twins and sample media": {
        "export": {"formats": ["OpenVINO", "ONNX"], "int8": True, "maxAccuracyLoss": 0.005},
        "evaluation": {"sources": ["s3://media/street.mp4", "https://example.com/a.jpg"], "timeLimitSeconds": 60},
    },
    "validation without labels": {"dataset__allowUnlabelledValidation": True},
    "largest stride": {"model__architecture": "yolov5s6", "training__imageSize": 1280},
    "eight ranks": {"compute__nodes": 2, "compute__gpusPerNode": 4, "training__batchSize": 64},
    "environment and resources": {
        "compute__env": [{"name": "A", "value": "1"}],
        "compute__resources": {"limits": {"cpu": 4, "memory": "1Gi"}},
    },
    "files": {
        "dataset__uri": "file:///data/masks.zip",
        "checkpoint__uri": "file:///data/out",
        "compute__persistentVolumeClaims": [CLAIM],
    },
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "eight bits of nothing": ({"export": {"formats": ["ONNX"], "int8": True}}, "export.int8 is for OpenVINO"),
    "an unknown format": ({"export": {"formats": ["TensorRT"]}}, "spec.export.formats"),
    "no format": ({"export": {"formats": []}}, "spec.export.formats"),
    "a loss of more than everything": (
        {"export": {"formats": ["ONNX"], "maxAccuracyLoss": 1.5}},
        "spec.export.maxAccuracyLoss",
    ),
    "sample media with a key": (
        {"evaluation": {"sources": ["https://example.com/a.mp4?token=x"]}},
        "evaluation.sources must not carry a query or a key",
    ),
    "sample media without a claim": (
        {"evaluation": {"sources": ["file:///data/a.mp4"]}},
        "A file:// URI in evaluation.sources must lie below the mountPath",
    ),
    "sample media signed by nobody": (
        {"evaluation": {"sources": ["s3://media/a.mp4"], "store": {"auth": "InstancePrincipal"}}},
        "evaluation.store.auth WorkloadIdentity and InstancePrincipal are for oci:// URIs only",
    ),
    "sample media with a secret for nothing": (
        {
            "evaluation": {
                "sources": ["oci://media@ns/a.mp4"],
                "store": {"auth": "InstancePrincipal", "credentialsSecretRef": {"name": "s"}},
            }
        },
        "evaluation.store.credentialsSecretRef belongs to evaluation.store.auth Secret",
    ),
    "sample media of an unknown region": (
        {"evaluation": {"sources": ["oci://media@ns/a.mp4"], "store": {"auth": "WorkloadIdentity"}}},
        "evaluation.store.auth WorkloadIdentity needs evaluation.store.region",
    ),
    "name with a dot": ({"name": "mask.s"}, "metadata.name must be at most 50 characters"),
    "long name": ({"name": "m" * 51}, "metadata.name must be at most 50 characters"),
    "batch does not divide": (
        {"training__batchSize": 9, "compute__nodes": 2},
        "must be a multiple of compute.nodes x compute.gpusPerNode",
    ),
    "stride of a P6 model": (
        {"model__architecture": "yolov5s6", "training__imageSize": 608},
        "must be a multiple of 64 for the architectures that end in 6",
    ),
    "reserved variable": (
        {"compute__env": [{"name": "MASTER_ADDR", "value": "x"}]},
        "must not name a variable that the launch itself sets",
    ),
    "value twice": (
        {"compute__env": [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        "has either a value or a valueFrom, not both",
    ),
    "data set without a claim": ({"dataset__uri": "file:///data/masks"}, "dataset.uri is a file:// URI"),
    "data set beside the claim": (
        {"dataset__uri": "file:///database/masks", "compute__persistentVolumeClaims": [CLAIM]},
        "dataset.uri is a file:// URI",
    ),
    "weights without a claim": ({"model__weights": "file:///data/w.pt"}, "model.weights is a file:// URI"),
    "checkpoints on a claim without the right to write": (
        {"checkpoint__uri": "file:///data", "compute__persistentVolumeClaims": [{**CLAIM, "readOnly": True}]},
        "one of compute.persistentVolumeClaims that is not readOnly",
    ),
    "claim over the workspace": (
        {"compute__persistentVolumeClaims": [{**CLAIM, "mountPath": "/workspace/data"}]},
        "must not be mounted in a folder that the pods use themselves",
    ),
    "GPUs among the resources": (
        {"compute__resources": {"limits": {"nvidia.com/gpu": 1}}},
        "compute.gpusPerNode says how many",
    ),
    "a slice of a GPU among the resources": (
        {"compute__resources": {"requests": {"nvidia.com/mig-1g.5gb": "1"}}},
        "compute.gpusPerNode says how many",
    ),
    "GPUs of another maker among the resources": (
        {"compute__resources": {"limits": {"amd.com/gpu": "1k"}}},
        "compute.gpusPerNode says how many",
    ),
    "weights without TLS": ({"model__weights": "http://example.com/yolov5s.pt"}, "spec.model.weights"),
    "weights with a password": ({"model__weights": "https://me:word@example.com/yolov5s.pt"}, "spec.model.weights"),
    "weights with a signed URL": (
        {"model__weights": "https://example.com/yolov5s.pt?signature=a%2Fb"},
        "model.weights must not be an https:// URL with a query",
    ),
    "weights with a pre-authenticated request": (
        {"model__weights": "https://objectstorage.us-ashburn-1.oraclecloud.com/p/key/n/axvision/b/weights/o/best.pt"},
        "model.weights must not be an https:// URL with a query or with a pre-authenticated request",
    ),
    "weights with a hidden pre-authenticated request": (
        {"model__weights": "https://objectstorage.us-ashburn-1.oraclecloud.com/%70/key/n/axvision/b/weights/o/best.pt"},
        "model.weights must not be an https:// URL with a query or with a pre-authenticated request",
    ),
    "weights twice": (
        {"model__weights": "s3://weights/a.pt", "model__weightsSecretRef": {"name": "weights", "key": "url"}},
        "model.weights and model.weightsSecretRef exclude each other",
    ),
    "a login in the endpoint": (
        {"dataset__store": {"endpoint": "https://me:word@s3.example.com"}},
        "store.endpoint must not hold a login",
    ),
    "a token in the endpoint": (
        {"checkpoint__store": {"endpoint": "https://s3.example.com/?token=x"}},
        "store.endpoint must not hold a login",
    ),
    "a pre-authenticated request in the endpoint": (
        {"dataset__store": {"endpoint": "https://objectstorage.us-ashburn-1.oraclecloud.com/p/key/"}},
        "store.endpoint must not hold a login",
    ),
    "an encoded pre-authenticated request in the endpoint": (
        {"dataset__store": {"endpoint": "https://objectstorage.us-ashburn-1.oraclecloud.com//P%2Fkey"}},
        "store.endpoint must not hold a login",
    ),
    "a Secret that is not meant": (
        {"checkpoint__store": {"auth": "InstancePrincipal", "credentialsSecretRef": {"name": "s"}}},
        "checkpoint.store.credentialsSecretRef belongs to checkpoint.store.auth Secret, and only to it",
    ),
    "data with a Secret that is missing": (
        {"dataset__store": {"auth": "Secret"}},
        "dataset.store.credentialsSecretRef belongs to dataset.store.auth Secret, and only to it",
    ),
    "a ServiceAccount for S3": (
        {"dataset__store": {"auth": "WorkloadIdentity", "region": "eu-frankfurt-1"}},
        "dataset.store.auth WorkloadIdentity and InstancePrincipal are for oci:// URIs only",
    ),
    "a node for checkpoints in S3": (
        {"checkpoint__store": {"auth": "InstancePrincipal"}},
        "checkpoint.store.auth WorkloadIdentity and InstancePrincipal are for oci:// URIs only",
    ),
    "a ServiceAccount without a region": (
        {"checkpoint__uri": "oci://checkpoints@axvision", "checkpoint__store": {"auth": "WorkloadIdentity"}},
        "checkpoint.store.auth WorkloadIdentity needs checkpoint.store.region",
    ),
    "data by a ServiceAccount without a region": (
        {"dataset__uri": "oci://data@axvision/masks.zip", "dataset__store": {"auth": "WorkloadIdentity"}},
        "dataset.store.auth WorkloadIdentity needs dataset.store.region",
    ),
    "no data set": ({"dataset": None}, "spec.dataset: Required value"),
    "name starting with a digit": ({"name": "1st"}, "starting with a letter"),
    "data set on the web": ({"dataset__uri": "http://example.com/masks.zip"}, "spec.dataset.uri"),
    "data behind a link that shows its key": (
        {"dataset__uri": "https://app.roboflow.com/ds/abc?key=x"},
        "put the link into a Secret and name that in dataset.uriSecretRef",
    ),
    "data behind a pre-authenticated request": (
        {"dataset__uri": "https://objectstorage.us-ashburn-1.oraclecloud.com/p/key/n/axvision/b/data/o/masks.zip"},
        "dataset.uri must not be an https:// link with a query",
    ),
    "data twice": (
        {"dataset": {"uri": "s3://datasets/masks.zip", **LINK}},
        "dataset needs either uri or, for a link that carries its key, uriSecretRef, and not both",
    ),
    "data nowhere": ({"dataset": {}}, "dataset needs either uri or, for a link that carries its key, uriSecretRef"),
    "data with a password": ({"dataset__uri": "https://me:word@example.com/masks.zip"}, "spec.dataset.uri"),
    "half a checksum": ({"dataset__sha256": "ab" * 16}, "spec.dataset.sha256"),
    "a frozen head": ({"training__freeze": 25}, "training.freeze must be at most 24"),
    "a compiled model at many sizes": (
        {"training__compile": True, "training__multiScale": True},
        "training.compile and training.multiScale exclude each other",
    ),
    "unknown preset": ({"training__preset": "low"}, 'Unsupported value: "low"'),
    "stride of every model": ({"training__imageSize": 100}, "multiple of 32"),
    "no learning": ({"training__hyperparameters": {"learningRate": 0}}, "learningRate"),
    "unknown architecture": ({"model__architecture": "yolov8n"}, 'Unsupported value: "yolov8n"'),
    "unknown field": ({"training__epoch": 3}, 'unknown field "spec.training.epoch"'),
    "zero nodes": ({"compute__nodes": 0}, "spec.compute.nodes"),
    "text for a number": ({"training__epochs": "many"}, "spec.training.epochs"),
}

CHANGES: dict[str, Any] = {
    "export": {"formats": ["ONNX"]},
    "evaluation": {"sources": ["s3://media/a.mp4"]},
    "model": {"architecture": "yolov5m"},
    "dataset": {"uri": "s3://datasets/other.zip"},
    "training": {"epochs": 7},
    "checkpoint": {"uri": "s3://elsewhere"},
    "compute.nodes": 2,
    "compute.gpusPerNode": 2,
    "compute.gpuResource": "amd.com/gpu",
    "compute.nodePoolRef": {"name": "a10"},
    "compute.imagePullSecrets": [{"name": "registry"}],
    "compute.priorityClassName": "high",
    "compute.serviceAccountName": "trainer",
    "compute.sharedMemory": "1Gi",
    "compute.persistentVolumeClaims": [CLAIM],
}
MUTABLE: dict[str, Any] = {
    "limits__maxRestartsWithoutProgress": 9,
    "limits__activeDeadlineSeconds": 3600,
    "compute__image": "registry.example/trainer:2",
    "compute__env": [{"name": "A", "value": "b"}],
    "compute__resources": {"requests": {"cpu": "2"}},
    "compute__tolerations": [{"key": "spot", "operator": "Exists"}],
    "compute__nodeSelector": {"pool": "a10"},
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_example_is_accepted(namespace: ApiNamespace, example: Any) -> None:
    for manifest in yaml.safe_load_all(example.read_text()):
        assert namespace.refusal(manifest) is None


@pytest.mark.parametrize("fields", GOOD.values(), ids=GOOD.keys())
def test_what_can_work_is_accepted(namespace: ApiNamespace, fields: dict[str, Any]) -> None:
    assert namespace.refusal(training_job(**fields)) is None


@pytest.mark.parametrize(("fields", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_work_is_refused_with_a_sentence(
    namespace: ApiNamespace, fields: dict[str, Any], sentence: str
) -> None:
    refusal = namespace.refusal(training_job(**fields))

    assert refusal is not None
    assert sentence in refusal


def test_every_rule_has_a_case_that_it_refuses() -> None:
    sentences = [sentence for _, sentence in REFUSED.values()]
    rules = [rule["message"] for rule in (*object_rules(), *spec_rules())]
    transitions = {f"{field} cannot change" for field in CHANGES}

    uncovered = [
        message
        for message in rules
        if not any(sentence in message for sentence in sentences) and not message.startswith(tuple(transitions))
    ]
    assert uncovered == []


def test_defaults_are_stored_so_that_a_later_operator_does_not_change_them(namespace: ApiNamespace) -> None:
    spec = namespace.create(training_job(), "--dry-run=server")["spec"]

    assert spec["model"] == {"architecture": "yolov5s", "weights": "official"}
    assert (spec["compute"]["nodes"], spec["compute"]["gpusPerNode"]) == (1, 1)
    assert spec["compute"]["gpuResource"] == "nvidia.com/gpu"
    assert spec["limits"]["maxRestartsWithoutProgress"] == 3
    assert (spec["training"]["preset"], spec["training"]["hyperparameters"]) == ("Low", {})
    assert "image" not in spec["compute"]


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_a_job_that_was_stored_with_an_earlier_default_keeps_it_when_its_manifest_is_applied_again(
    namespace: ApiNamespace, how: tuple[str, ...]
) -> None:
    manifest = training_job(f"applied-{len(how)}")
    applied = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(manifest)}
    spec = manifest["spec"] | {"model": {"architecture": "yolov5s", "weights": "scratch"}}
    namespace.create(manifest | {"spec": spec})
    # Afterwards: `kubectl create` would write its own words into an annotation that is there.
    namespace.merge(f"mtj/{manifest['metadata']['name']}", {"metadata": {"annotations": applied}})

    namespace.kubectl("apply", "--filename=-", *how, text=json.dumps(manifest))

    assert namespace.get(f"mtj/{manifest['metadata']['name']}")["spec"]["model"]["weights"] == "scratch"


def test_who_signs_has_no_default_that_stored_jobs_would_get_too(namespace: ApiNamespace) -> None:
    """The API server fills defaults in when it reads, too."""
    store = {"uri": "oci://checkpoints@axvision", "store": {"region": "eu-frankfurt-1"}}
    spec = namespace.create(training_job(checkpoint=store), "--dry-run=server")["spec"]
    assert spec["checkpoint"]["store"] == {"region": "eu-frankfurt-1"}


def test_fields_that_came_later_are_not_filled_in(namespace: ApiNamespace) -> None:
    """An earlier operator, after a roll-back, refuses a job with a key that it does not know."""
    training = namespace.create(training_job(), "--dry-run=server")["spec"]["training"]
    assert not {"requireFitness", "decodedCacheGib"} & training.keys()
    after: dict[str, Any] = {"export": {"formats": ["ONNX"]}, "evaluation": {"sources": ["s3://media/street.mp4"]}}
    spec = namespace.create(training_job(**after), "--dry-run=server")["spec"]
    assert {name: spec[name] for name in after} == after
    asked = training_job(training={"requireFitness": True})
    assert namespace.create(asked, "--dry-run=server")["spec"]["training"]["requireFitness"]


def test_where_data_lies_has_no_default_that_stored_jobs_would_get_too(namespace: ApiNamespace) -> None:
    """An operator from before, after a roll-back, refuses what it does not know."""
    spec = namespace.create(training_job(), "--dry-run=server")["spec"]
    assert spec["dataset"] == {"uri": "s3://datasets/masks.zip"}
    assert namespace.create(training_job(dataset=LINK), "--dry-run=server")["spec"]["dataset"] == LINK


def test_every_immutable_field_has_a_change() -> None:
    assert set(CHANGES) == {*IMMUTABLE_SECTIONS, *(f"compute.{field}" for field in IMMUTABLE_COMPUTE)}


@pytest.mark.parametrize(("field", "value"), CHANGES.items(), ids=CHANGES.keys())
def test_what_is_immutable_can_be_neither_changed_nor_removed_first(
    namespace: ApiNamespace, field: str, value: Any
) -> None:
    plain = namespace.create(training_job())
    with_value = training_job("changed")
    change(with_value["spec"], field.split("."), value)
    changed = namespace.create({**with_value, "spec": _with_required(with_value["spec"])})

    for existing, wanted in ((plain, value), (changed, None)):
        edited = copy.deepcopy(existing)
        del edited["metadata"]["resourceVersion"]
        change(edited["spec"], field.split("."), wanted)
        edited["spec"] = _with_required(edited["spec"])
        with pytest.raises(ClusterError, match=f"{field} cannot change once the job exists"):
            namespace.replace(edited)


def _with_required(spec: dict[str, Any]) -> dict[str, Any]:
    """A removed section that is required stays as small as it can be, so that the refusal is the one under test."""
    return {"dataset": {"uri": "s3://datasets/masks.zip"}, "checkpoint": {"uri": "s3://checkpoints"}, **spec}


def test_limits_and_what_the_next_attempt_reads_can_change(namespace: ApiNamespace) -> None:
    namespace.create(training_job())
    edited = training_job(**MUTABLE)

    changed = namespace.replace(edited)["spec"]

    assert changed["limits"]["activeDeadlineSeconds"] == 3600
    assert changed["compute"]["image"] == "registry.example/trainer:2"


def test_the_status_is_written_by_the_operator_alone(namespace: ApiNamespace) -> None:
    created = namespace.create({**training_job(), "status": {"state": "Complete"}})

    assert "status" not in created


def test_the_short_name_shows_the_columns_that_people_look_at(namespace: ApiNamespace) -> None:
    namespace.create(training_job())

    header = namespace.kubectl("get", "mtj").splitlines()[0].split()
    assert header == ["NAME", "STATE", "EPOCH", "MAP50", "RESTARTS", "COST", "AGE"]
