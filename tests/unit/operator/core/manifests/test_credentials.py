"""Whose credentials the pods get, and that a job from before goes on with its own."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.manifests.credentials import (
    closed_mirror,
    credential_mounts,
    default_auth,
    missing_region,
    outdated_image,
    pod_sections,
    store_egress_rules,
)
from masktrain_operator.core.manifests.job import job_manifest, run_config
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import DATASET_URL, EVALUATION_CREDENTIALS, WEIGHTS_MIRROR_VARIABLE, StoreAuth
from tests.unit.operator.manifests import SETTINGS, training_job
from tests.unit.operator.world import World

REGION = {"region": "eu-frankfurt-1"}
SECRET = {"credentialsSecretRef": {"name": "oracle"}}
SEEN = {"observedGeneration": 1}
SETTLED = {"observedGeneration": 1, "storeAuth": "WorkloadIdentity"}


def oracle_job(
    store: dict[str, Any] | None = None, status: Manifest | None = None, image: str | None = None
) -> MaskTrainingJob:
    """Data by S3, checkpoints by Oracle."""
    place = {"uri": "oci://checkpoints@axvision/runs"}
    compute = {"image": image} if image else {}
    return training_job(
        status=status, checkpoint=place if store is None else {**place, "store": store}, compute=compute
    )


def pod_spec(job: MaskTrainingJob) -> Manifest:
    found: Manifest = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]
    return found


def volume_names(job: MaskTrainingJob) -> set[str]:
    return {volume["name"] for volume in pod_spec(job)["volumes"]}


@pytest.mark.parametrize(
    ("store", "status", "told", "mounts_token"),
    [
        (None, None, StoreAuth.WORKLOAD_IDENTITY, True),
        (REGION, None, StoreAuth.WORKLOAD_IDENTITY, True),
        (REGION, SETTLED, StoreAuth.WORKLOAD_IDENTITY, True),
        (REGION, SEEN, None, False),
        (None, SEEN, None, False),
        (SECRET, None, None, False),
        ({"auth": "Secret", **SECRET}, None, None, False),
        ({"auth": "InstancePrincipal"}, None, None, False),
        ({"auth": "WorkloadIdentity", **REGION}, SEEN, StoreAuth.WORKLOAD_IDENTITY, True),
    ],
    ids=["new", "new with a region", "settled", "stored", "stored without a store", "Secret", "said", "node", "asked"],
)
def test_who_signs(store: dict[str, Any] | None, status: Manifest | None, told: StoreAuth, mounts_token: bool) -> None:
    job = oracle_job(store, status)
    _, checkpoint, _ = pod_sections(job)
    assert (checkpoint.store.auth if checkpoint.store else None) == told
    assert ("workload-identity" in volume_names(job)) == mounts_token


def test_the_default_of_a_new_job_is_settled_by_its_first_status() -> None:
    """So that a second attempt, or an operator with another default, changes nothing."""
    world = World(checkpoint={"uri": "oci://checkpoints@axvision", "store": REGION})
    world.run_operator()
    assert world.body["status"]["storeAuth"] == "WorkloadIdentity"
    assert default_auth(MaskTrainingJob.parse(world.body)) is StoreAuth.WORKLOAD_IDENTITY


def test_a_stored_job_is_not_settled() -> None:
    world = World(checkpoint={"uri": "oci://checkpoints@axvision", "store": REGION})
    world.body["status"] = dict(SEEN)
    world.run_operator()
    assert "storeAuth" not in world.body["status"]


def test_a_job_without_oracle_is_as_before() -> None:
    job = training_job(compute={})
    assert default_auth(job) is None
    assert volume_names(job) == {"workspace", "tmp", "shm"}


def test_the_token_is_that_of_the_pods_account_and_nothing_else_is_mounted() -> None:
    spec = pod_spec(oracle_job(REGION))
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "workload-identity")
    assert yaml.safe_dump(volume["projected"]) == yaml.safe_dump(
        {
            "defaultMode": 0o440,
            "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ],
        }
    )
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize(
    ("image", "known"),
    [
        (None, True),
        ("registry.example.com/trainer:0.1.0", False),
        ("registry.example.com:5000/trainer:v0.1", False),
        ("registry.example.com/trainer:0.2.0", True),
        ("registry.example.com/trainer:1.0.3-cuda13", True),
        ("registry.example.com/trainer:nightly", True),
        ("registry.example.com:5000/trainer", True),
        ("registry.example.com/trainer@sha256:" + "0" * 64, True),
    ],
)
def test_an_image_that_is_too_old_is_told_before_nodes_are_asked_for(image: str | None, known: bool) -> None:
    assert (outdated_image(oracle_job(REGION, image=image)) is None) == known
    assert outdated_image(oracle_job(REGION, SEEN, image)) is None
    assert outdated_image(oracle_job(SECRET, image=image)) is None


@pytest.mark.parametrize(
    ("store", "image", "sentence"),
    [
        ({}, None, "checkpoint.store.region is not set, which workload identity needs"),
        (REGION, "trainer:0.1.0", "compute.image trainer:0.1.0 does not know store.auth WorkloadIdentity"),
    ],
)
def test_what_cannot_sign_gets_no_pods(store: dict[str, Any], image: str | None, sentence: str) -> None:
    compute = {"nodes": 1, **({"image": image} if image else {})}
    world = World(checkpoint={"uri": "oci://checkpoints@axvision", "store": store}, compute=compute)
    world.run_operator()
    assert world.jobs == {}
    assert world.is_true("Failed")
    assert any(sentence in found["message"] for found in world.body["status"]["conditions"])


LINK = {"uriSecretRef": {"name": "roboflow", "key": "link"}}
PLAIN = {"uri": "s3://datasets/set.zip"}


def test_the_link_of_a_data_set_is_mounted_as_one_file_and_told_by_name() -> None:
    job = training_job(dataset=LINK)
    spec = pod_spec(job)
    (volume,) = (volume for volume in spec["volumes"] if volume["name"] == "dataset-url")
    assert volume["secret"]["items"] == [{"key": "link", "path": "url"}]
    assert volume["secret"]["optional"] is True
    (mount,) = (mount for mount in spec["containers"][0]["volumeMounts"] if mount["name"] == "dataset-url")
    assert f"{mount['mountPath']}/url" == DATASET_URL
    assert mount["readOnly"]
    told = run_config(job, 0).dataset.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    assert told == {"uriSecretRef": {"name": "roboflow", "key": "link"}}


def test_a_job_with_a_hidden_link_is_launched() -> None:
    world = World(dataset=LINK)
    world.run_operator()
    assert len(world.jobs) == 1


@pytest.mark.parametrize(
    ("spec", "needed"),
    [
        ({"dataset": LINK}, "dataset.uriSecretRef"),
        ({"export": {"formats": ["ONNX"]}}, "export"),
        ({"evaluation": {"sources": ["s3://media/a.mp4"]}}, "evaluation"),
        ({"dataset": {"uri": "https://example.com/set.zip"}}, "dataset.uri https://"),
        ({"dataset": PLAIN}, None),
        ({"dataset": {**PLAIN, "allowUnlabelledValidation": True}}, "dataset.allowUnlabelledValidation"),
        ({"dataset": {**PLAIN, "allowUnlabelledValidation": False}}, None),
        ({"training": {"requireFitness": True}}, "training.requireFitness"),
        ({"training": {"requireFitness": False, "decodedCacheGib": 20}}, None),
        ({"training": {"decodedCacheGib": 5}}, "training.decodedCacheGib"),
    ],
)
def test_an_image_that_does_not_know_a_later_field_is_told_before_nodes_are_asked_for(
    spec: dict[str, Any], needed: str | None
) -> None:
    sentence = outdated_image(training_job(**spec, compute={"image": "trainer:0.1.0"}))
    assert (needed is None) == (sentence is None)
    assert needed is None or f"does not know {needed}, which this job needs" in str(sentence)
    assert outdated_image(training_job(**spec, compute={"image": "trainer:0.2.0"})) is None


def test_a_region_is_not_missing_where_another_identity_signs() -> None:
    assert missing_region(oracle_job({"auth": "InstancePrincipal"})) is None
    assert missing_region(oracle_job(None, SEEN)) is None


@pytest.mark.parametrize(
    ("job", "closed"),
    [
        (oracle_job(REGION), True),
        (oracle_job(SECRET), True),
        (training_job(compute={}), True),
        (oracle_job({"auth": "InstancePrincipal"}), False),
        (oracle_job(REGION, SEEN), False),
    ],
    ids=["workload", "Secret", "S3", "node", "stored"],
)
def test_the_metadata_service_is_closed_to_who_does_not_sign_as_the_node(job: MaskTrainingJob, closed: bool) -> None:
    everywhere, names, *metadata = store_egress_rules(job)
    blocks = [peer["ipBlock"] for peer in everywhere["to"] if "ipBlock" in peer]
    assert {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]} in blocks
    assert all(block["except"] for block in blocks)
    assert "ports" not in everywhere
    assert [port["port"] for port in names["ports"]] == [53, 53]
    assert (metadata == []) == closed


@pytest.mark.parametrize(
    ("mirror", "checkpoints", "weights", "is_closed"),
    [
        ("s3://weights", "s3://checkpoints", "official", False),
        ("oci://weights@axvision", "oci://checkpoints@axvision", "official", False),
        ("https://mirror.example.com", "file:///checkpoints", "official", False),
        ("", "file:///checkpoints", "official", False),
        ("s3://weights", "oci://checkpoints@axvision", "scratch", False),
        ("s3://weights", "oci://checkpoints@axvision", "official", True),
        ("oci://weights@axvision", "s3://checkpoints", "official", True),
        ("s3://weights", "file:///checkpoints", "official", True),
    ],
)
def test_a_mirror_is_read_with_the_login_of_the_checkpoints(
    mirror: str, checkpoints: str, weights: str, is_closed: bool
) -> None:
    settings = replace(SETTINGS, weights_mirror=mirror)
    sections: dict[str, Any] = {"model": {"weights": weights}, "checkpoint": {"uri": checkpoints}}
    sentence = closed_mirror(training_job(**sections), settings)
    assert (sentence is not None) == is_closed
    own = {"env": [{"name": WEIGHTS_MIRROR_VARIABLE, "value": "https://ours.example.com"}]}
    assert closed_mirror(training_job(**sections, compute=own), settings) is None


def test_a_job_that_cannot_read_the_mirror_gets_no_pods_but_one_that_trains_is_not_ended() -> None:
    mirrored = replace(SETTINGS, weights_mirror="oci://weights@axvision")
    new, training = World(model={}), World(model={})
    new.settings = mirrored
    new.run_operator()
    assert new.jobs == {}
    assert any("is no oci:// URI" in found["message"] for found in new.body["status"]["conditions"])
    training.run_operator()
    training.settings = mirrored
    training.start_pods()
    training.end_all(1)
    training.run_operator()
    training.wait(60)
    training.run_operator()
    assert not training.is_true("Failed")
    assert len(training.jobs) == 2


def test_sample_media_have_a_store_of_their_own() -> None:
    store = {"endpoint": "https://s3.example.com", "credentialsSecretRef": {"name": "media"}}
    job = training_job(evaluation={"sources": ["s3://media/a.mp4"], "store": store})
    *_, evaluation = pod_sections(job)
    assert evaluation is not None
    assert evaluation.store is not None
    assert evaluation.store.endpoint == "https://s3.example.com"
    assert {"name": "evaluation-credentials", "mountPath": EVALUATION_CREDENTIALS, "readOnly": True} in (
        credential_mounts(job)
    )
    assert pod_sections(training_job())[2] is None
