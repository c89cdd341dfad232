"""What every store must do, asked of a folder, of a real S3 server and of Oracle's SDK."""

import base64
import errno
import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.errors import (
    ConditionsUnsupported,
    ObjectMissing,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)
from masktrain_trainer.stores import Store, open_object, open_store
from masktrain_trainer.stores.folder import FolderStore
from masktrain_trainer.stores.s3 import S3Store, Target, explain

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def s3_client(s3_spec: tuple[StoreSpec, Path]) -> "S3Client":
    """A client without the project's code, to look at the server from outside."""
    spec, credentials = s3_spec
    keys = [(credentials / name).read_text().strip() for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")]
    return boto3.client(
        "s3",
        endpoint_url=spec.endpoint,
        region_name=spec.region,
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(s3={"addressing_style": "path"}),
    )


def test_what_is_put_is_read(store: Store) -> None:
    info = store.put("a/b c.bin", b"content")
    assert (info.size, info.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert store.read("a/b c.bin") == b"content"
    assert store.head("a/b c.bin") == info


def test_a_large_file_survives_the_way_there_and_back(store: Store, tmp_path: Path) -> None:
    source, back = tmp_path / "source", tmp_path / "back"
    source.write_bytes(bytes(range(256)) * (70 << 12))  # 70 MiB: several parts on S3
    info = store.put("large", source)
    store.download("large", back)
    assert info.size == source.stat().st_size
    assert hashlib.sha256(back.read_bytes()).hexdigest() == info.sha256


def test_listing_is_by_prefix_and_deleting_twice_is_fine(store: Store) -> None:
    for key in ("x/1", "x/2", "xy", "z"):
        store.put(key, b"")
    assert sorted(info.key for info in store.list("x/")) == ["x/1", "x/2"]
    store.delete("x/1")
    store.delete("x/1")
    assert sorted(info.key for info in store.list("")) == ["x/2", "xy", "z"]


def test_a_copy_keeps_its_checksum_whatever_its_size(store: Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(65 << 20))
    for body in (b"1234", tmp_path / "large"):
        origin = store.put("from", body)
        store.copy("from", "to/here")
        copied = store.head("to/here")
        assert copied is not None
        assert (copied.sha256, copied.size) == (origin.sha256, origin.size)


def test_conditions_hold(store: Store) -> None:
    assert store.honours_conditional_writes()
    first = store.put("key", b"1", if_absent=True)
    with pytest.raises(PreconditionFailed):
        store.put("key", b"2", if_absent=True)
    store.put("key", b"2", if_match=store.read_with_etag("key")[1])
    with pytest.raises(PreconditionFailed):
        store.put("key", b"3", if_match=first.etag)
    assert store.read("key") == b"2"
    with pytest.raises(PreconditionFailed):
        store.put("absent", b"4", if_match=first.etag)
    assert [info.key for info in store.list("")] == ["key"], "the probe leaves nothing"


def test_of_many_creators_one_wins(store: Store) -> None:
    def create(number: int) -> bool:
        try:
            store.put("claim", str(number).encode(), if_absent=True)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        won = [number for number, created in enumerate(pool.map(create, range(16))) if created]
    assert store.read("claim").decode() in map(str, won)
    if not isinstance(store, S3Store):  # versitygw's folder back end checks first and writes later
        assert len(won) == 1


def test_of_many_swappers_of_one_version_one_wins(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first = store.put("pointer", b"first")

    def swap(number: int) -> bool:
        try:
            store.put("pointer", str(number).encode(), if_match=first.etag)
        except PreconditionFailed:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(swap, range(16))) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pointer"], "no lock and no temporary file stays"


def test_conditions_are_refused_for_files(store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(ValueError, match="bytes only"):
        store.put("key", tmp_path / "file", if_absent=True)


def test_keys_may_hold_what_urls_give_a_meaning_to(store: Store) -> None:
    for key in ("a#b", "a?b=c", "a+b", "a%20b", "-a", "ä"):
        store.put(key, key.encode())
        assert store.read(key) == key.encode()
    assert len(list(store.list("a"))) == 4


def test_what_a_killed_writer_left_is_discarded_below_the_prefix_only(tmp_path: Path) -> None:
    for name in ("job/.masktrain-tmp-best.pt-x1", "job/uid/.masktrain-tmp-state.pt-x2", "job-2/.masktrain-tmp-a-x3"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"half")
    store = FolderStore(tmp_path)
    assert list(store.list("")) == []
    store.discard_unfinished("job/uid/", before=datetime.now(UTC) - timedelta(hours=1))
    assert len(list((tmp_path / "job/uid").iterdir())) == 1, "its writer may be alive"
    store.discard_unfinished("job/uid/")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["job", "job-2"]
    assert [path.name for path in (tmp_path / "job").iterdir()] == [".masktrain-tmp-best.pt-x1"]
    store.discard_unfinished("job/best.pt")
    assert [path.name for path in tmp_path.iterdir()] == ["job-2"]


def test_half_an_upload_is_discarded(s3_spec: tuple[StoreSpec, Path]) -> None:
    client = s3_client(s3_spec)
    for key in ("parts/mine/a", "parts/other/b"):
        client.create_multipart_upload(Bucket="checkpoints", Key=key)
    store = open_store("s3://checkpoints/parts", *s3_spec)
    store.discard_unfinished("mine/", before=datetime.now(UTC) - timedelta(hours=1))
    assert len(client.list_multipart_uploads(Bucket="checkpoints", Prefix="parts/mine/")["Uploads"]) == 1
    store.discard_unfinished("mine/", before=datetime.now(UTC) + timedelta(hours=1))
    left = client.list_multipart_uploads(Bucket="checkpoints", Prefix="parts/").get("Uploads", [])
    assert [upload["Key"] for upload in left] == ["parts/other/b"]


def test_what_arrives_damaged_is_refused_by_the_server(s3_spec: tuple[StoreSpec, Path]) -> None:
    client = s3_client(s3_spec)
    wrong = base64.b64encode(hashlib.md5(b"another").digest()).decode()
    with pytest.raises(ClientError, match="MD5"):
        client.put_object(Bucket="checkpoints", Key="damaged", Body=b"content", ContentMD5=wrong)


def test_no_body_is_sent_in_chunks_of_its_own_encoding(s3_spec: tuple[StoreSpec, Path], tmp_path: Path) -> None:
    """OCI's S3 endpoint refuses `aws-chunked` bodies and trailing checksums."""
    store = open_store("s3://checkpoints/plain", *s3_spec)
    assert isinstance(store, S3Store)
    sent: list[dict[str, str]] = []
    store._client.meta.events.register("before-send.s3", lambda request, **_: sent.append(dict(request.headers)))
    (tmp_path / "large").write_bytes(bytes(65 << 20))
    store.put("small", b"1")
    store.put("large", tmp_path / "large")
    assert len(sent) > 5
    for headers in sent:
        text = " ".join(f"{name}: {value!r}" for name, value in headers.items()).lower()
        assert "aws-chunked" not in text
        assert "x-amz-trailer" not in text
        assert "unsigned-payload" not in text


def test_a_missing_object_is_told_apart(store: Store, tmp_path: Path) -> None:
    assert store.head("nothing") is None
    for attempt in (
        lambda: store.read("nothing"),
        lambda: store.download("nothing", tmp_path / "x"),
        lambda: store.copy("nothing", "y"),
    ):
        with pytest.raises(ObjectMissing, match="does not exist"):
            attempt()


def test_a_missing_bucket_is_denied_not_missing(s3_spec: tuple[StoreSpec, Path]) -> None:
    store = open_store("s3://no-such-bucket/prefix", *s3_spec)
    for attempt in (lambda: store.head("x"), lambda: store.read("x"), lambda: list(store.list(""))):
        with pytest.raises(StoreDenied, match="Bucket 'no-such-bucket' does not exist"):
            attempt()


def test_wrong_keys_are_denied_and_not_shown(s3_spec: tuple[StoreSpec, Path], tmp_path: Path) -> None:
    (tmp_path / "AWS_ACCESS_KEY_ID").write_text("AKTESTTESTTEST")
    (tmp_path / "AWS_SECRET_ACCESS_KEY").write_text("wrong-and-secret")
    store = open_store("s3://checkpoints", s3_spec[0], tmp_path)
    with pytest.raises(StoreDenied, match="refuses access") as error:
        store.put("x", b"")
    assert "wrong-and-secret" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        (None, "'my-secret' does not exist or lacks the key AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({}, "lacks the key AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": " \n"}, "lacks the key AWS_SECRET_ACCESS_KEY;"),
        ({"AWS_ACCESS_KEY_ID": "x\ny", "AWS_SECRET_ACCESS_KEY": "s3cret"}, "AWS_ACCESS_KEY_ID of Secret 'my-secret'"),
        ({"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "s3cret-ä"}, "holds characters that no access key has"),
    ],
)
def test_an_unusable_secret_is_named(tmp_path: Path, files: dict[str, str] | None, sentence: str) -> None:
    for name, value in (files or {}).items():
        (tmp_path / name).write_text(value)
    spec = StoreSpec(endpoint="http://127.0.0.1:9", credentials_secret_ref=SecretRef(name="my-secret"))
    folder = tmp_path / "nowhere" if files is None else tmp_path
    for place in (folder, None) if files is None else (folder,):
        with pytest.raises(StoreDenied, match=sentence) as error:
            open_store("s3://bucket", spec, place)
        assert "s3cret" not in str(error.value)


def test_without_a_secret_and_without_a_chain_the_field_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", "/nonexistent")
    with pytest.raises(StoreDenied, match="set the store's credentialsSecretRef"):
        open_store("s3://bucket", StoreSpec(endpoint="http://127.0.0.1:9"), None).head("x")


@pytest.mark.parametrize(("bucket", "endpoint"), [("no such name!", None), ("bucket", "http://127.0.0.1:port")])
def test_what_is_no_address_is_denied(
    s3_spec: tuple[StoreSpec, Path], tmp_path: Path, bucket: str, endpoint: str | None
) -> None:
    spec, credentials = s3_spec
    spec = spec.model_copy(update={"endpoint": endpoint or spec.endpoint})
    with pytest.raises(StoreDenied, match="is no valid address"):
        open_store(f"s3://{bucket}", spec, credentials).head("x")


def test_a_failed_upload_of_parts_says_why(s3_spec: tuple[StoreSpec, Path], tmp_path: Path) -> None:
    """boto3 hides the server's answer in an error of its own."""
    (tmp_path / "large").write_bytes(bytes(65 << 20))
    with pytest.raises(StoreDenied, match="Bucket 'no-such-bucket' does not exist"):
        open_store("s3://no-such-bucket", *s3_spec).put("large", tmp_path / "large")


@pytest.mark.parametrize(
    ("code", "kind", "sentence"),
    [
        ("PermanentRedirect", StoreDenied, "not in region 'us-east-1'"),
        ("RequestTimeTooSkewed", StoreDenied, "set the clock of this machine"),
        ("SlowDown", StoreUnavailable, "SlowDown"),
        ("NotImplemented", ConditionsUnsupported, "does not support conditional writes"),
    ],
)
def test_an_answer_is_explained(code: str, kind: type[StoreError], sentence: str) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "…"}}, "PutObject")
    target = Target("https://store.example", "us-east-1", "bucket", "s3://bucket/key", conditional=True)
    explained = explain(error, target)
    assert type(explained) is kind
    assert sentence in str(explained)


def test_a_full_or_read_only_volume_is_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number, kind in ((errno.ENOSPC, StoreUnavailable), (errno.EROFS, StoreDenied), (errno.EACCES, StoreDenied)):

        def refuse(*_: object, number: int = number) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(kind, match=tmp_path.as_uri()):
            FolderStore(tmp_path).put("key", b"1")
        assert list(tmp_path.iterdir()) == []


def test_another_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="must start with oci://, s3:// or file:///"):
        open_store("https://bucket", None, None)


def test_an_object_is_found_by_its_uri(tmp_path: Path) -> None:
    (tmp_path / "a #1 b.zip").write_bytes(b"x")
    for uri in (f"file://{tmp_path}/a #1 b.zip", (tmp_path / "a #1 b.zip").as_uri()):
        store, key = open_object(uri, None, None)
        assert store.read(key) == b"x"


def test_a_silent_endpoint_may_come_back(s3_spec: tuple[StoreSpec, Path]) -> None:
    silent = s3_spec[0].model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StoreUnavailable, match="could not be reached"):
        open_store("s3://checkpoints", silent, s3_spec[1]).head("x")
