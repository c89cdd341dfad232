"""Whoever may write into a job's part of a store, and what its trainer then does with rights that reach further."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from masktrain_trainer.checkpoint.catalog import read_catalog
from masktrain_trainer.checkpoint.manifest import Manifest, StoredFile, _manifest_digest
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.checkpoint.selection import delete_checkpoint
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores.folder import FolderStore
from tests.stores.training_run import KEYS, run_config

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
CONTENT = b"state"
STATE = {"name": "state.pt", "sizeBytes": len(CONTENT), "sha256": sha256_of(CONTENT)}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "claim" / "team-a")


def tamper(store: FolderStore, *names: str) -> Manifest:
    """A checkpoint, sealed, whose manifest names these files besides its own."""
    state = StoredFile(name="state.pt", size_bytes=len(CONTENT), sha256=sha256_of(CONTENT))
    manifest = Manifest(attempt=0, run=0, epoch=0, step=7, created_at=MOMENT, files=[state])
    files = [STATE, *({"name": name, "sizeBytes": 1, "sha256": "0" * 64} for name in names)]
    put(store, manifest.prefix(KEYS), json.loads(manifest.to_json()) | {"files": files})
    store.put(manifest.prefix(KEYS) + "state.pt", CONTENT)
    return manifest


def put(store: FolderStore, prefix: str, document: dict[str, Any]) -> None:
    sealed = {"manifest": document, "sha256": _manifest_digest(document)}
    store.put(f"{prefix}manifest.json", json.dumps(sealed).encode())


def test_a_manifest_deletes_no_file_outside_its_folder(store: FolderStore, tmp_path: Path) -> None:
    other = tmp_path / "claim" / "team-b" / "best.pt"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"1")
    up = "../" * (KEYS.checkpoint("x").count("/") + 1)
    tamper(store, f"{up}team-b/best.pt")
    catalog = read_catalog(store, KEYS)
    for manifest in (*catalog.manifests, *catalog.only_models):
        delete_checkpoint(store, KEYS, manifest)
    assert other.exists()
    assert list(catalog.broken.values()) == ["manifest is damaged"]


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "/etc/passwd", "a\\b", "\ud800", "a\nb", "\x1b[2J", "a" * 300])
def test_what_is_no_plain_name_is_no_file_of_a_checkpoint(store: FolderStore, tmp_path: Path, name: str) -> None:
    tamper(store, name)
    found = restore(store, run_config(), "pod", tmp_path / "restore")
    found.to_json()
    assert (found.restored, len(found.skipped)) == (None, 1)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"manifest":' * 100_000, b"\xff\xfe", b"9" * 10_000, b'"\\ud800"'], ids=repr
)
def test_a_manifest_that_cannot_be_parsed_is_damaged_and_keeps_no_job_from_starting(
    store: FolderStore, tmp_path: Path, content: bytes
) -> None:
    good = tamper(store)
    store.put(f"{KEYS.checkpoints}0.0-9-9-0.5-000000000000/manifest.json", content)
    found = restore(store, run_config(), "pod", tmp_path / "restore")
    assert found.restored is not None
    assert found.restored.step == good.step


def test_a_result_that_cannot_be_parsed_keeps_no_job_from_starting(store: FolderStore, tmp_path: Path) -> None:
    store.put(KEYS.output("result.json"), b"[" * 100_000)
    assert not restore(store, run_config(), "pod", tmp_path / "restore").completed


def test_a_large_manifest_is_not_even_read(store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> None:
    store.put(f"{KEYS.checkpoints}0.0-9-9-0.5-000000000000/manifest.json", b" " * (4 << 20))
    monkeypatch.setattr(FolderStore, "read", lambda *_: pytest.fail("it was read"))
    assert list(read_catalog(store, KEYS).broken.values()) == ["manifest is damaged"]


def test_a_key_forges_no_line_of_the_log(store: FolderStore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store.put(f"{KEYS.checkpoints}e9\n12:00:00 stored checkpoint\x1b[2J/manifest.json", b"{}")
    found = restore(store, run_config(), "pod", tmp_path / "restore")
    (sentence,) = found.skipped
    assert sentence.isprintable()
    assert all(record.getMessage().isprintable() for record in caplog.records)
