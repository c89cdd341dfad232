"""Who a pod is to the stores and to the cloud, and what is shown of the keys."""

import json
from pathlib import Path

import pytest
import yaml
from botocore.exceptions import EndpointConnectionError

from masktrain_operator.core.manifests.job import job_manifest
from masktrain_trainer.config import ModelSpec, SecretKeyRef, StoreSpec
from masktrain_trainer.errors import InvalidWeights
from masktrain_trainer.stores import open_store
from masktrain_trainer.weights import sources
from masktrain_trainer.weights.load import fetch_weights
from tests.unit.operator.manifests import SETTINGS, training_job

LOGIN = "https://me:hunter2@store.example/x?token=hunter2"
SIGNED = "https://files.example/w.pt?signature=hunter2"


# What is shown


def test_a_login_in_a_stored_endpoint_is_not_shown_by_s3() -> None:
    """Refused since, but objects with one are stored."""
    store = open_store("s3://bucket/prefix", StoreSpec(endpoint=LOGIN), None)
    error = EndpointConnectionError(endpoint_url=f"{LOGIN}/bucket")
    sentence = str(store._explain(error, "key", conditional=False))  # type: ignore[attr-defined]
    assert "store.example" in sentence
    assert "hunter2" not in sentence


@pytest.mark.parametrize("section", ["dataset", "checkpoint"])
def test_a_login_in_an_endpoint_is_refused(section: str) -> None:
    """By the field's own rule in the CRD: an object that was stored with one can still be changed elsewhere."""
    crd = yaml.safe_load(Path("crds/masktrain.dev_masktrainingjobs.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    endpoint = spec["properties"][section]["properties"]["store"]["properties"]["endpoint"]
    (rule,) = endpoint["x-kubernetes-validations"]
    assert rule["rule"] == "!self.matches('[@?#]')"
    assert "store.endpoint must not hold a login" in rule["message"]


def test_a_signed_url_of_weights_stays_out_of_the_pod_and_of_the_report() -> None:
    job = training_job(model={"weightsSecretRef": {"name": "weights", "key": "url"}})
    (container,) = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]["containers"]
    assert all(
        "valueFrom" not in variable or "secretKeyRef" not in variable["valueFrom"] for variable in container["env"]
    )
    mount = next(mount for mount in container["volumeMounts"] if mount["name"] == "weights-url")
    assert mount["readOnly"]
    assert job.spec.model.weights_shown == "the URL in key url of Secret weights"
    assert "hunter2" not in json.dumps(ModelSpec(weights=SIGNED).weights_shown), "stored before it was refused"


@pytest.mark.parametrize("content", [None, "", "hunter2", f"{SIGNED}\nhunter2", "http://files.example/hunter2"])
def test_an_unusable_url_in_the_secret_is_not_shown(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "WEIGHTS_URL", str(tmp_path / "url"))
    if content is not None:
        (tmp_path / "url").write_text(content)
    model = ModelSpec(weights_secret_ref=SecretKeyRef(name="weights", key="url"))
    with pytest.raises(InvalidWeights, match=r"Secret 'weights' of model\.weightsSecretRef") as caught:
        fetch_weights(model, None, None, tmp_path / "weights.pt")
    assert "hunter2" not in str(caught.value)
