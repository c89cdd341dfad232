"""What every store must do, asked of a folder and of a real S3 server."""

import hashlib
from pathlib import Path

import pytest

from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.stores import Store, open_store
from masktrain_trainer.stores.errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreUnavailable


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


def test_a_copy_keeps_its_checksum(store: Store) -> None:
    origin = store.put("from", b"1234")
    store.copy("from", "to/here")
    copied = store.head("to/here")
    assert copied is not None
    assert copied.sha256 == origin.sha256


def test_conditions_hold(store: Store) -> None:
    assert store.honours_conditional_writes()
    first = store.put("key", b"1", if_absent=True)
    with pytest.raises(PreconditionFailed):
        store.put("key", b"2", if_absent=True)
    store.put("key", b"2", if_match=first.etag)
    with pytest.raises(PreconditionFailed):
        store.put("key", b"3", if_match=first.etag)
    assert store.read("key") == b"2"
    assert [info.key for info in store.list("")] == ["key"], "the probe leaves nothing"


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


def test_an_absent_secret_is_named(tmp_path: Path) -> None:
    spec = StoreSpec(endpoint="http://127.0.0.1:9", credentials_secret_ref=SecretRef(name="my-secret"))
    with pytest.raises(StoreDenied, match="Secret 'my-secret' does not exist or lacks the key AWS_ACCESS_KEY_ID"):
        open_store("s3://bucket", spec, tmp_path / "nowhere")


def test_a_silent_endpoint_may_come_back(s3_spec: tuple[StoreSpec, Path]) -> None:
    silent = s3_spec[0].model_copy(update={"endpoint": "http://127.0.0.1:9"})
    with pytest.raises(StoreUnavailable, match="does not answer"):
        open_store("s3://checkpoints", silent, s3_spec[1]).head("x")
