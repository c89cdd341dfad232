"""Who a pod is to the stores and to the cloud, and what is shown of the keys."""

import json
import logging
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import EndpointConnectionError

from devcluster.layout import REPOSITORY
from masktrain_operator.core.manifests.job import job_manifest, network_policy_manifest, run_config
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import (
    DatasetSpec,
    ModelSpec,
    SecretKeyRef,
    StoreAuth,
    StoreSpec,
    addresses,
    holds_secret,
    is_signed,
    shown_url,
)
from masktrain_trainer.errors import InvalidWeights
from masktrain_trainer.stores import open_store, web
from masktrain_trainer.weights import sources
from masktrain_trainer.weights.load import fetch_weights
from tests.unit.operator.manifests import SETTINGS, training_job

LOGIN = "https://me:hunter2@store.example/x?token=hunter2"
ORACLES = "https://objectstorage.us-ashburn-1.oraclecloud.com"
SIGNED = "https://files.example/w.pt?signature=hunter2"


# Who signs

ORACLE = {"uri": "oci://checkpoints@axvision/runs", "store": {"region": "eu-frankfurt-1"}}


def pod_of(checkpoint: dict[str, Any]) -> Manifest:
    found: Manifest = job_manifest(training_job(checkpoint=checkpoint), 0, SETTINGS)["spec"]["template"]["spec"]
    return found


def projected(pod: Manifest) -> list[Manifest]:
    return [volume for volume in pod["volumes"] if "projected" in volume]


def test_a_new_oci_store_is_not_opened_as_the_node() -> None:
    """Whose rights are those of every pod on it, of whatever team."""
    job = training_job(checkpoint=ORACLE)
    store = run_config(job, 0).checkpoint.store
    assert store is not None
    assert store.auth is StoreAuth.WORKLOAD_IDENTITY
    assert len(projected(pod_of(ORACLE))) == 1


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"uri": "s3://checkpoints"},
        {**ORACLE, "store": {"credentialsSecretRef": {"name": "oracle"}}},
        {**ORACLE, "store": {"auth": "InstancePrincipal"}},
    ],
    ids=["S3", "Secret", "node"],
)
def test_no_pod_gets_a_token_that_does_not_sign_with_it(checkpoint: dict[str, Any]) -> None:
    pod = pod_of(checkpoint)
    assert projected(pod) == []
    assert pod["automountServiceAccountToken"] is False


KEYS, KEYS_6 = "169.254.169.254", "fd00:c1::a9fe:a9fe"
BOOT_VOLUME, BLOCK_VOLUME, NODE_DNS = "169.254.0.2", "169.254.2.7", "169.254.20.10"
AS_NODE = {**ORACLE, "store": {"auth": "InstancePrincipal"}}


@pytest.mark.parametrize("address", [KEYS, KEYS_6], ids=["IPv4", "IPv6"])
def test_the_keys_of_the_node_are_out_of_reach_of_who_does_not_sign_with_them(address: str) -> None:
    assert not any(reaches(ORACLE, address, port) for port in (53, 80, 443))
    assert reaches(AS_NODE, address, 80)
    assert not reaches(AS_NODE, address, 443)


@pytest.mark.parametrize("checkpoint", [ORACLE, AS_NODE], ids=["workload", "node"])
@pytest.mark.parametrize("address", [BOOT_VOLUME, BLOCK_VOLUME, NODE_DNS, "169.254.1.1", "fe80::1"])
def test_no_pod_reaches_the_services_of_its_node(address: str, checkpoint: dict[str, Any]) -> None:
    """Like the iSCSI targets of a bare-metal node's boot volume and block volumes, which ask for no password."""
    assert not any(reaches(checkpoint, address, port) for port in (80, 3260))


@pytest.mark.parametrize("checkpoint", [ORACLE, AS_NODE], ids=["workload", "node"])
@pytest.mark.parametrize(
    ("address", "port"), [(NODE_DNS, 53), ("134.70.8.1", 443), ("10.96.5.5", 53), ("2603:c020::1", 443)]
)
def test_names_and_stores_stay_in_reach(address: str, port: int, checkpoint: dict[str, Any]) -> None:
    assert reaches(checkpoint, address, port)


def reaches(checkpoint: dict[str, Any], address: str, port: int) -> bool:
    """Whether the policy of such a job lets its pods reach a TCP port of an address outside the cluster.

    It selects them, closes what no rule of it opens, and a rule that names nobody opens the way to everybody.
    """
    job = training_job(checkpoint=checkpoint)
    policy = network_policy_manifest(job, SETTINGS)["spec"]
    pods = job_manifest(job, 0, SETTINGS)["spec"]["template"]["metadata"]["labels"]
    assert policy["podSelector"]["matchLabels"].items() <= pods.items()
    if "Egress" not in policy["policyTypes"]:
        return True
    return any(
        (
            not rule.get("to")
            or any(_allows(peer["ipBlock"], ip_address(address)) for peer in rule["to"] if "ipBlock" in peer)
        )
        and ("ports" not in rule or {"port": port, "protocol": "TCP"} in rule["ports"])
        for rule in policy["egress"]
    )


def _allows(block: Manifest, address: IPv4Address | IPv6Address) -> bool:
    left_out = any(address in ip_network(net) for net in block.get("except", ()))
    return address in ip_network(block["cidr"]) and not left_out


def test_a_new_pool_is_not_managed_as_the_node() -> None:
    spec = schema("gpunodepools")
    assert spec["properties"]["auth"]["properties"]["type"]["default"] == "WorkloadIdentity"


# What is shown


def test_a_login_in_a_stored_endpoint_is_not_shown_by_s3() -> None:
    """Refused since, but objects with one are stored."""
    store = open_store("s3://bucket/prefix", StoreSpec(endpoint=LOGIN), None)
    error = EndpointConnectionError(endpoint_url=f"{LOGIN}/bucket")
    sentence = str(store._explain(error, "key", conditional=False))  # type: ignore[attr-defined]
    assert "store.example" in sentence
    assert "hunter2" not in sentence


def schema(plural: str) -> Manifest:
    """Of the spec, as the API server gets it."""
    crd = yaml.safe_load((REPOSITORY / f"crds/masktrain.dev_{plural}.yaml").read_text())
    found: Manifest = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return found


@pytest.mark.parametrize("section", ["dataset", "checkpoint"])
def test_a_login_in_an_endpoint_is_refused(section: str) -> None:
    """By the field's own rule in the CRD: an object that was stored with one can still be changed elsewhere."""
    endpoint = schema("masktrainingjobs")["properties"][section]["properties"]["store"]["properties"]["endpoint"]
    (rule,) = endpoint["x-kubernetes-validations"]
    assert rule["rule"] == f"!self.matches('{addresses.ENDPOINT_SIGNS}')"
    assert "store.endpoint must not hold a login" in rule["message"]


def test_a_key_in_the_path_of_weights_is_refused() -> None:
    """As Oracle's pre-authenticated requests have it."""
    weights = schema("masktrainingjobs")["properties"]["model"]["properties"]["weights"]
    (rule,) = weights["x-kubernetes-validations"]
    assert rule["rule"] == f"!(self.startsWith('https://') && self.matches('{addresses.LINK_SIGNS}'))"
    assert "pre-authenticated request (/p/token/n/)" in rule["message"]


def test_a_key_in_the_link_of_a_data_set_is_refused() -> None:
    """As Roboflow's links have it."""
    uri = schema("masktrainingjobs")["properties"]["dataset"]["properties"]["uri"]
    (rule,) = uri["x-kubernetes-validations"]
    assert rule["rule"] == f"!(self.startsWith('https://') && self.matches('{addresses.LINK_SIGNS}'))"
    assert "name that in dataset.uriSecretRef" in rule["message"]


SHOWN = f"{ORACLES}/p/…/n/axvision/b/weights/o/best.pt"
REST = "n/axvision/b/weights/o/best.pt"
HIDDEN = {
    "as it is": f"/p/hunter2/{REST}",
    "a letter encoded": f"/%70/hunter2/{REST}",
    "encoded as a capital": f"/%50/hunter2/{REST}",
    "encoded twice": f"/%2570/hunter2/{REST}",
    "the other letter encoded": f"/p/hunter2/%6E{REST[1:]}",
    "more slashes": f"//p//hunter2//{REST}",
    "slashes encoded": f"/p%2Fhunter2%2f{REST}",
    "a capital": f"/P/hunter2/{REST}",
    "dots": f"/x/../p/./hunter2/{REST}",
    "dots between": f"/p/hunter2/x/../{REST}",
    "dots encoded": f"/p/hunter2/x/%2e%2E/{REST}",
    "parameters": f"/p;a=b/hunter2/{REST}",
    "a token with an encoded slash": f"/p/hunter2%2f/{REST}",
}


@pytest.mark.parametrize("path", HIDDEN.values(), ids=HIDDEN)
def test_a_pre_authenticated_request_is_recognised_however_it_is_written(path: str) -> None:
    """Attack: each is served as the plain one by one server or another, and all but the first were stored and shown."""
    url = f"{ORACLES}{path}"
    assert is_signed(url)
    assert holds_secret(url)
    assert shown_url(url).lower() == SHOWN.lower()


@pytest.mark.parametrize(
    "endpoint",
    [
        "/%70/hunter2",
        "//p//hunter2//",
        "/P/hunter2",
        "/p%2fhunter2",
        "/x/../p/hunter2/",
        "/p;a/hunter2",
        "/.%2fp/hunter2",
    ],
)
def test_an_endpoint_with_a_token_is_recognised_however_it_is_written(endpoint: str) -> None:
    assert holds_secret(f"{ORACLES}{endpoint}")
    assert "hunter2" not in shown_url(f"{ORACLES}{endpoint}")


@pytest.mark.parametrize("path", [*HIDDEN.values(), "/w.pt?signature=hunter2"])
def test_no_retry_of_a_download_logs_its_key(path: str) -> None:
    name = "urllib3.connectionpool"
    broken = {"name": name, "msg": f"Retrying (Retry(total=4)) after connection broken by 'OSError': {path}"}
    assert not web._has_no_key(logging.makeLogRecord(broken))
    assert web._has_no_key(logging.makeLogRecord({"name": name, "msg": "Starting new HTTPS connection (1): host:443"}))


def test_what_is_decoded_to_hide_a_token_forges_no_line() -> None:
    assert "\n" not in shown_url(f"{ORACLES}/p/hunter2/n/x%0AFailed")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"{ORACLES}/p/hunter2/n/axvision/b/weights/o/best.pt", f"{ORACLES}/p/…/n/axvision/b/weights/o/best.pt"),
        (f"{ORACLES}/p/hunter2.x/n/axvision/b/weights/o/a", f"{ORACLES}/p/…/n/axvision/b/weights/o/a"),
        (f"{ORACLES}/p/hunter2", f"{ORACLES}/p/…"),
        (f"{ORACLES}/p/hunter2/", f"{ORACLES}/p/…/"),
    ],
)
def test_the_key_of_a_pre_authenticated_request_is_not_shown(url: str, shown: str) -> None:
    assert holds_secret(url)
    assert shown_url(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        f"{ORACLES}/n/axvision/b/weights/o/p/a.pt",
        f"{ORACLES}/n/axvision/b/weights/o/runs%2F7%2Fbest%20one.pt",
        f"{ORACLES}/p/best.pt",
        ORACLES,
    ],
)
def test_an_address_without_a_key_is_shown_whole(url: str) -> None:
    assert not is_signed(url)
    assert shown_url(url) == url


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


def test_the_link_of_a_data_set_stays_out_of_the_pod_and_of_the_report() -> None:
    job = training_job(dataset={"uriSecretRef": {"name": "roboflow", "key": "link"}})
    (container,) = job_manifest(job, 0, SETTINGS)["spec"]["template"]["spec"]["containers"]
    assert not any("secretKeyRef" in variable.get("valueFrom", {}) for variable in container["env"])
    assert job.spec.dataset.shown == "the link in key link of Secret roboflow"
    assert "hunter2" not in DatasetSpec(uri="https://app.roboflow.com/ds/a?key=hunter2").shown


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
