"""Stores that a trainer pod opens as its ServiceAccount: Oracle's SDK and the exchange of tokens."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from devcluster.oracle.object_storage import NAMESPACE, Bucket, FakeObjectStorage, serving_object_storage
from devcluster.oracle.running import serving
from devcluster.oracle.signing import Credentials, TokenExchange, service_account_token
from masktrain_trainer.config import StoreAuth, StoreSpec
from masktrain_trainer.errors import StoreDenied, StoreUnavailable
from masktrain_trainer.stores import Store, oci_login, open_store

KEY = "k" * 32
A, B = "team-a/trainer", "team-b/trainer"


@pytest.fixture(scope="module")
def api_key() -> Credentials:
    return Credentials.create()


@pytest.fixture
def storage(api_key: Credentials) -> Iterator[FakeObjectStorage]:
    """A bucket for each of two teams, whose policies name the other's ServiceAccount in neither."""
    buckets = {"team-a": Bucket(), "team-b": Bucket()}
    with serving_object_storage(FakeObjectStorage(api_key, buckets)) as served:
        served.policies = {A: {"team-a"}, B: {"team-b"}}
        yield served


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the operator mounts, with the cluster's authority in it."""
    monkeypatch.setattr(oci_login, "WORKLOAD_IDENTITY", str(tmp_path))
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH", str(tmp_path / "ca.crt"))
    return tmp_path


@pytest.fixture
def exchange(storage: FakeObjectStorage, pod: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TokenExchange]:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(pod / "ca.crt"))
    agent = TokenExchange(storage.signatures, KEY)
    with serving(agent.application(), context) as address:
        port = "oci.auth.signers.resource_principals_signer.OCI_KUBERNETES_PROXYMUX_SERVICE_PORT"
        monkeypatch.setattr(port, address.rpartition(":")[2])
        yield agent


def sign_as(account: str, pod: Path, lifetime: int = 3600) -> None:
    namespace, name = account.split("/")
    (pod / "token").write_text(service_account_token(namespace, name, KEY, lifetime))


def opened(storage: FakeObjectStorage, bucket: str) -> Store:
    spec = StoreSpec(endpoint=storage.endpoint, region="us-ashburn-1", auth=StoreAuth.WORKLOAD_IDENTITY)
    return open_store(f"oci://{bucket}@{NAMESPACE}/runs", spec, None)


@pytest.mark.usefixtures("exchange")
def test_a_service_account_uses_the_bucket_of_its_team(storage: FakeObjectStorage, pod: Path) -> None:
    sign_as(A, pod)
    store = opened(storage, "team-a")
    store.put("best.pt", b"weights")
    assert store.read("best.pt") == b"weights"


@pytest.mark.usefixtures("exchange")
def test_another_team_neither_reads_nor_deletes(storage: FakeObjectStorage, pod: Path) -> None:
    sign_as(A, pod)
    opened(storage, "team-a").put("best.pt", b"weights")
    sign_as(B, pod)
    store = opened(storage, "team-a")
    with pytest.raises(StoreDenied, match="no policy lets these credentials see it"):
        store.read("best.pt")
    with pytest.raises(StoreDenied):
        store.delete("best.pt")
    assert list(storage.buckets["team-a"].objects) == ["runs/best.pt"]


def test_a_token_that_oracle_no_longer_takes_is_renewed(
    storage: FakeObjectStorage, exchange: TokenExchange, pod: Path
) -> None:
    """A training outlives the tokens of its first hour."""
    sign_as(A, pod)
    store = opened(storage, "team-a")
    storage.signatures.revoke(A)
    store.put("best.pt", b"weights")
    assert exchange.requests == 2


def test_the_exchange_is_asked_again_when_it_fails(
    storage: FakeObjectStorage, exchange: TokenExchange, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sign_as(A, pod)
    exchange.failures = [503, 429]
    opened(storage, "team-a").put("best.pt", b"weights")
    assert exchange.requests == 3


def test_an_exchange_that_goes_on_failing_may_come_back(
    storage: FakeObjectStorage, exchange: TokenExchange, pod: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    sign_as(A, pod)
    exchange.failures = [503] * 9
    with pytest.raises(StoreUnavailable, match="workload identity failed with 503"):
        opened(storage, "team-a")


@pytest.mark.usefixtures("exchange")
@pytest.mark.parametrize(("key", "lifetime"), [("x" * 32, 3600), (KEY, -3600)], ids=["forged", "expired"])
def test_a_token_that_is_not_taken_is_said_and_not_shown(
    storage: FakeObjectStorage, pod: Path, key: str, lifetime: int
) -> None:
    token = service_account_token("team-a", "trainer", key, lifetime)
    (pod / "token").write_text(token)
    with pytest.raises(StoreDenied, match=r"does not exchange the token .* enhanced OKE cluster; else set") as caught:
        opened(storage, "team-a")
    assert token not in str(caught.value)


def test_a_basic_cluster_is_told(storage: FakeObjectStorage, exchange: TokenExchange, pod: Path) -> None:
    sign_as(A, pod)
    exchange.failures = [403]
    with pytest.raises(StoreDenied, match=r"\(403\): it has to be an enhanced OKE cluster"):
        opened(storage, "team-a")


def test_without_the_mounted_token_no_other_identity_is_taken(storage: FakeObjectStorage, pod: Path) -> None:
    """Neither a config file nor the node's."""
    with pytest.raises(StoreDenied, match=f"no token of its ServiceAccount in {pod}"):
        opened(storage, "team-a")


def test_without_a_region_there_is_a_sentence() -> None:
    spec = StoreSpec(auth=StoreAuth.WORKLOAD_IDENTITY)
    with pytest.raises(StoreDenied, match="needs to know the bucket's region; set the store's region"):
        open_store(f"oci://team-a@{NAMESPACE}/runs", spec, None)
