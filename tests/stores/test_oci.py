"""Oracle's Object Storage beyond the contract: who signs, what a failure means, what is left when a writer dies."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devcluster.oracle.failures import ServiceError
from devcluster.oracle.object_storage import NAMESPACE, FakeObjectStorage, Upload
from devcluster.oracle.signing import Credentials
from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.errors import StoreDenied, StoreError, StoreUnavailable
from masktrain_trainer.stores import Store, open_object, open_store

from .conftest import BUCKET, write_secret

URI = f"oci://{BUCKET}@{NAMESPACE}/runs"
OciSpec = tuple[StoreSpec, Path]


def test_a_page_is_not_all(object_storage: FakeObjectStorage, oci_spec: OciSpec) -> None:
    object_storage.page_size = 2
    store = open_store(URI, *oci_spec)
    for number in range(5):
        store.put(f"key-{number}", b"")
    assert [info.key for info in store.list("key")] == [f"key-{number}" for number in range(5)]


def test_a_large_file_goes_in_parts_that_the_server_checks(
    object_storage: FakeObjectStorage, oci_spec: OciSpec, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(bytes(65 << 20))
    open_store(URI, *oci_spec).put("large", tmp_path / "large")
    parts = [request for request in object_storage.requests if "uploadPartNum" in request.query]
    assert len(parts) == 5
    assert all("opc-content-sha256" in request.headers for request in parts)


def test_half_an_upload_is_discarded_below_the_prefix_only(
    object_storage: FakeObjectStorage, oci_spec: OciSpec
) -> None:
    object_storage.page_size = 1
    bucket = object_storage.buckets[BUCKET]
    for name in ("runs/mine/a", "runs/other/b", "mine/c", "runs/mine/d"):
        upload = Upload(name, {})
        bucket.uploads[upload.id] = upload
    open_store(URI, *oci_spec).discard_unfinished("mine/")
    assert sorted(upload.name for upload in bucket.uploads.values()) == ["mine/c", "runs/other/b"]


def test_a_connection_that_ends_early_is_tried_again(
    object_storage: FakeObjectStorage, oci_spec: OciSpec, tmp_path: Path
) -> None:
    store = open_store(URI, *oci_spec)
    content = bytes(range(256)) * 4096
    store.put("key", content)
    object_storage.cut = 1
    assert store.read("key") == content
    object_storage.cut = 1
    store.download("key", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == content


def test_a_service_that_fails_once_is_asked_again(object_storage: FakeObjectStorage, oci_spec: OciSpec) -> None:
    store = open_store(URI, *oci_spec)
    object_storage.refusals.append(ServiceError(503, "ServiceUnavailable", "…"))
    store.put("key", b"1")
    assert store.read("key") == b"1"


@pytest.mark.parametrize(
    ("refusal", "kind", "sentence"),
    [
        (
            ServiceError(401, "NotAuthenticated", "…"),
            StoreDenied,
            r"refuses access to oci://.* \(401 NotAuthenticated\)",
        ),
        (
            ServiceError(403, "NotAllowed", "…"),
            StoreDenied,
            "check the store's credentials, its policies and the clock",
        ),
        (ServiceError(404, "NamespaceNotFound", "…"), StoreDenied, f"Bucket '{BUCKET}@{NAMESPACE}' does not exist"),
        (ServiceError(409, "ConcurrentObjectUpdate", "…"), StoreUnavailable, "409 ConcurrentObjectUpdate"),
        (ServiceError(400, "InvalidObjectName", "…"), StoreDenied, "400 InvalidObjectName"),
    ],
)
def test_an_answer_is_explained(
    object_storage: FakeObjectStorage, oci_spec: OciSpec, refusal: ServiceError, kind: type[StoreError], sentence: str
) -> None:
    store = open_store(URI, *oci_spec)
    object_storage.refusals += [refusal, refusal]  # the SDK signs anew and asks once more after a 401
    with pytest.raises(kind, match=sentence):
        store.put("key", b"1")


def test_a_missing_bucket_is_denied_not_missing(oci_spec: OciSpec, tmp_path: Path) -> None:
    store = open_store(f"oci://no-such-bucket@{NAMESPACE}/prefix", *oci_spec)
    (tmp_path / "large").write_bytes(bytes(65 << 20))
    attempts: list[Callable[[], object]] = [
        lambda: store.head("x"),
        lambda: store.read("x"),
        lambda: list(store.list("")),
        lambda: store.delete("x"),
        lambda: store.put("x", tmp_path / "large"),
    ]
    for attempt in attempts:
        with pytest.raises(StoreDenied, match=f"Bucket 'no-such-bucket@{NAMESPACE}' does not exist"):
            attempt()


def test_a_stranger_is_denied_and_the_key_not_shown(oci_spec: OciSpec, tmp_path: Path) -> None:
    stranger = Credentials.create()
    write_secret(stranger, tmp_path / "stranger")
    with pytest.raises(StoreDenied, match="refuses access") as error:
        open_store(URI, oci_spec[0], tmp_path / "stranger").put("x", b"")
    assert "PRIVATE KEY" not in str(error.value)


def test_a_silent_endpoint_may_come_back(oci_spec: OciSpec) -> None:
    silent = oci_spec[0].model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StoreUnavailable, match="could not be reached: Connection refused"):
        open_store(URI, silent, oci_spec[1]).head("x")


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _with(name: str, content: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("damage", "region", "sentence"),
    [
        (_without("key"), "us-ashburn-1", "'my-secret' does not exist or lacks the key key; create it with the keys"),
        (_with("user", " \n"), "us-ashburn-1", "lacks the key user;"),
        (_with("user", "me"), "us-ashburn-1", "user of Secret 'my-secret' or of its store is malformed"),
        (_with("fingerprint", "ä"), "us-ashburn-1", "holds characters that do not belong there"),
        (_with("key", "s3cret"), "us-ashburn-1", "no private key in PEM"),
        (lambda _: None, None, "set the store's region"),
    ],
)
def test_an_unusable_secret_is_named(
    api_key: Credentials, tmp_path: Path, damage: Callable[[Path], object], region: str | None, sentence: str
) -> None:
    write_secret(api_key, tmp_path / "secret")
    damage(tmp_path / "secret")
    spec = StoreSpec(region=region, credentials_secret_ref=SecretRef(name="my-secret"))
    with pytest.raises(StoreDenied, match=sentence) as error:
        open_store(URI, spec, tmp_path / "secret")
    assert "s3cret" not in str(error.value)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a config file, on a machine that is no instance of Oracle's."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("OCI_CONFIG_FILE", raising=False)
    monkeypatch.setenv("OCI_METADATA_BASE_URL", "http://127.0.0.1:9/opc/v2")
    (tmp_path / "home/.oci").mkdir(parents=True)
    return tmp_path / "home"


def test_the_config_file_is_taken_where_there_is_no_secret(object_storage: FakeObjectStorage, home: Path) -> None:
    object_storage.credentials.write_config_file(home / ".oci")
    store: Store
    store, key = open_object(f"{URI}/a #1.zip", StoreSpec(endpoint=object_storage.endpoint), None)
    store.put(key, b"1")
    assert store.uri(key) == f"{URI}/a #1.zip"
    assert list(object_storage.buckets[BUCKET].objects) == ["runs/a #1.zip"]


def test_a_profile_that_is_missing_is_named(home: Path, monkeypatch: pytest.MonkeyPatch, api_key: Credentials) -> None:
    api_key.write_config_file(home / ".oci")
    monkeypatch.setenv("OCI_CLI_PROFILE", "TRAINING")
    with pytest.raises(StoreDenied, match="unusable: ProfileNotFound; correct it, or OCI_CLI_PROFILE"):
        open_store(URI, StoreSpec(), None)


@pytest.mark.usefixtures("home")
def test_without_any_credentials_the_ways_out_are_named() -> None:
    with pytest.raises(
        StoreDenied, match=r"no config file, .* name a Secret with an API key in the store, or use a node"
    ):
        open_store(URI, StoreSpec(), None)
