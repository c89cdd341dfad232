"""Oracle's Object Storage beyond the contract: who signs, what a failure means, what is left when a writer dies."""

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from oci.exceptions import ServiceError as SdkError
from oci.retry import NoneRetryStrategy

from devcluster.oracle.failures import ServiceError
from devcluster.oracle.object_storage import NAMESPACE, FakeObjectStorage, Upload
from devcluster.oracle.signing import Credentials
from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.errors import StoreDenied, StoreError, StoreUnavailable
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import Store, oci, oci_login, open_object, open_store

from .conftest import BUCKET, write_secret

URI = f"oci://{BUCKET}@{NAMESPACE}/runs"
OciSpec = tuple[StoreSpec, Path]


def _refusal(status: int, code: str | None, content_type: str = "application/json") -> SdkError:
    return SdkError(status, code, {"content-type": content_type}, "…")


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


SKEW = "Date 'Fri, 03 Jan 2020 04:05:06 GMT' is not within allowed clock skew. Current 'Mon, 03 Feb 2031 04:05:06 GMT'"


@pytest.mark.parametrize(
    ("refusal", "sentence"),
    [
        (ServiceError(401, "NotAuthenticated", "…"), r"\(401 NotAuthenticated\); check the store's credentials"),
        (
            ServiceError(401, "NotAuthenticated", SKEW),
            r"the clock here says 20.* UTC, the store's says 20.* UTC; set the",
        ),
        (ServiceError(400, "InvalidParameter", "…"), r"does not accept what is asked of .* \(400 InvalidParameter\)"),
        (ServiceError(403, "NotRestored", "…"), r"lies in an archive tier \(403 NotRestored\); restore it first"),
    ],
)
def test_the_words_that_a_head_lacks_are_asked_for(
    object_storage: FakeObjectStorage, oci_spec: OciSpec, refusal: ServiceError, sentence: str
) -> None:
    store = open_store(URI, *oci_spec)
    store.put("key", b"1")
    object_storage.refusals += [refusal] * 4
    with pytest.raises(StoreDenied, match=sentence):
        store.head("key")
    assert "bytes=0-0" in [request.headers.get("Range") for request in object_storage.requests]


def test_an_archived_object_is_final(object_storage: FakeObjectStorage, oci_spec: OciSpec) -> None:
    """Restoring takes hours: no attempt in the next minutes can work."""
    object_storage.refusals.append(ServiceError(409, "NotRestored", "…"))
    with pytest.raises(StoreDenied, match="lies in an archive tier"):
        open_store(URI, *oci_spec).read("key")


def test_a_server_that_takes_no_head_is_read_all_the_same(object_storage: FakeObjectStorage, oci_spec: OciSpec) -> None:
    store = open_store(URI, *oci_spec)
    store.put("key", b"content")
    object_storage.refusals.append(ServiceError(405, "", ""))
    found = store.head("key")
    assert found is not None
    assert (found.size, found.sha256) == (7, sha256_of(b"content"))


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (_refusal(503, "ServiceUnavailable"), StoreUnavailable, "asks for fewer requests or has too much to do"),
        (_refusal(429, "TooManyRequests"), StoreUnavailable, "asks for fewer requests or has too much to do"),
        (_refusal(403, None, "text/html"), StoreDenied, r"answers with a web page \(403\)"),
        (_refusal(502, None, "text/html; charset=utf-8"), StoreUnavailable, r"answers with a web page \(502\)"),
        (oci._EndsEarly(), StoreUnavailable, "is cut off before its end"),
        (TimeoutError("timed out"), StoreUnavailable, "takes requests and sends nothing back"),
    ],
)
def test_what_the_sdk_tries_again_by_itself_is_explained(
    error: Exception, kind: type[StoreError], sentence: str
) -> None:
    target = oci.OciTarget("https://store.example", "bucket@ns", "oci://bucket@ns/key")
    explained = oci.explain(error, target)
    assert type(explained) is kind
    assert re.search(sentence, str(explained))


def test_a_store_that_hangs_is_given_up(oci_spec: OciSpec, monkeypatch: pytest.MonkeyPatch) -> None:
    assert oci.READING_SECONDS[1] * oci_login._ATTEMPTS <= 100
    monkeypatch.setattr(oci, "READING_SECONDS", (1.0, 0.2))
    monkeypatch.setattr(oci, "retry_strategy", NoneRetryStrategy)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        store = open_store(URI, oci_spec[0].model_copy(update={"endpoint": address}), oci_spec[1])
        with pytest.raises(StoreUnavailable, match=f"^{address} takes requests and sends nothing back"):
            store.head("key")


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
