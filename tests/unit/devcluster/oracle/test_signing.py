"""Only requests that a registered user signed a moment ago are served."""

from email.utils import formatdate
from time import time

import oci
import pytest
import requests

from devcluster.oracle.signing import Credentials
from tests.devcluster.fixtures import POOL
from tests.unit.devcluster.oracle.conftest import Fake, Oke


def test_the_sdks_signature_is_accepted_with_and_without_body(oke: Oke) -> None:
    assert oke.pool.id == POOL.id
    oke.resize(1)


def test_an_unknown_key_is_refused(fake_oci: Fake) -> None:
    stranger = Credentials.create()
    client = oci.container_engine.ContainerEngineClient(stranger.sdk_config, service_endpoint=fake_oci.endpoint)
    with client.base_client.session, pytest.raises(oci.exceptions.ServiceError) as refused:
        client.get_node_pool(POOL.id)
    assert (refused.value.status, refused.value.code) == (401, "NotAuthenticated")
    assert fake_oci.log.calls[-1].status == 401


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"authorization": ""}, "not an rsa-sha256 signature"),
        ({"host": "elsewhere"}, "does not match"),
    ],
)
def test_a_changed_request_is_refused(fake_oci: Fake, change: dict[str, str], reason: str) -> None:
    request = _signed(fake_oci, {})
    request.headers.update(change)
    assert reason in _refusal(request)


def test_a_changed_date_is_refused(fake_oci: Fake) -> None:
    request = _signed(fake_oci, {})
    request.headers["date"] = formatdate(time() - 10, usegmt=True)
    assert "does not match" in _refusal(request)


def test_a_stale_date_is_refused_though_signed(fake_oci: Fake) -> None:
    assert "s off" in _refusal(_signed(fake_oci, {"date": formatdate(time() - 3600, usegmt=True)}))


def test_a_changed_body_is_refused(fake_oci: Fake) -> None:
    request = _signed(fake_oci, {"content-type": "application/json"}, "PUT", '{"nodeConfigDetails": {"size": 1}}')
    request.body = b'{"nodeConfigDetails": {"size": 9}}'
    assert "x-content-sha256" in _refusal(request)
    assert fake_oci.cloud.pool(POOL.id).size == 0


def _signed(
    fake: Fake, headers: dict[str, str], method: str = "GET", body: str | None = None
) -> requests.PreparedRequest:
    url = f"{fake.endpoint}/20180222/nodePools/{POOL.id}"
    signer = oci.signer.Signer.from_config({"key_file": None, **fake.sdk_config})
    return requests.Request(method, url, headers=headers, data=body, auth=signer).prepare()


def _refusal(request: requests.PreparedRequest) -> str:
    with requests.Session() as session:
        answer = session.send(request)
    assert answer.status_code == 401
    assert answer.headers["opc-request-id"]
    return str(answer.json()["message"])
