"""What a listing tells of checkpoints: those that are sealed wrongly, of other versions, or not listed yet."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from masktrain_trainer.checkpoint.catalog import Catalog, Result, read_catalog, read_result
from masktrain_trainer.checkpoint.manifest import Manifest, StoredFile, _manifest_digest
from masktrain_trainer.checkpoint.restore import restore
from masktrain_trainer.config import CheckpointRef
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import ObjectInfo, Store
from masktrain_trainer.stores.folder import FolderStore
from tests.stores.training_run import KEYS, Wrapped, run_config

MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def put(store: Store, step: int, **changes: Any) -> Manifest:
    """A checkpoint whose manifest has these changes, sealed as its writer would."""
    content = f"state {step}".encode()
    file = StoredFile(name="state.pt", size_bytes=len(content), sha256=sha256_of(content))
    manifest = Manifest(attempt=0, run=0, epoch=0, step=step, created_at=MOMENT, files=[file])
    document = json.loads(manifest.to_json()) | changes
    sealed = {"manifest": document, "sha256": _manifest_digest(document)}
    store.put(manifest.prefix(KEYS) + "state.pt", content)
    store.put(manifest.prefix(KEYS) + "manifest.json", json.dumps(sealed).encode())
    return manifest


def steps(catalog: Catalog) -> list[int]:
    return sorted(manifest.step for manifest in catalog.manifests)


@pytest.mark.parametrize("change", [{"files": []}, {"fitness": float("nan")}, {"epoch": "last"}, {"files": None}])
def test_a_sealed_manifest_that_makes_no_sense_is_damaged_and_hides_no_other(
    store: FolderStore, change: dict[str, Any]
) -> None:
    put(store, 10)
    damaged = put(store, 20, **change)
    catalog = read_catalog(store, KEYS)
    assert (steps(catalog), catalog.broken) == ([10], {damaged.id: "manifest is damaged"})


def test_what_a_newer_version_adds_to_a_manifest_is_passed_over(store: FolderStore, tmp_path: Path) -> None:
    file = {"name": "state.pt", "sizeBytes": 8, "sha256": sha256_of(b"state 20"), "codec": "none"}
    put(store, 20, worldSize=4, files=[file])
    found = restore(store, run_config(), "pod", tmp_path / "restore")
    assert found.restored is not None
    assert (found.restored.step, found.skipped) == (20, [])


def test_a_manifest_of_another_format_is_said_to_be_one(store: FolderStore, tmp_path: Path) -> None:
    newer = put(store, 20, format="masktrain-checkpoint-v9", state={})
    found = restore(store, run_config(), "pod", tmp_path / "restore")
    problem = "its manifest is of another version of MaskTrain (its format is 'masktrain-checkpoint-v9')"
    assert found.restored is None
    assert found.skipped == [f"Checkpoint {newer.id} was passed over: {problem}."]


def test_what_a_newer_version_adds_to_a_result_is_passed_over(store: FolderStore) -> None:
    best = CheckpointRef(uri="u", sha256="0", size_bytes=1, epoch=0, step=1, verified_at=MOMENT)
    result = Result(uid=KEYS.uid, best=best, metrics={}, outputs=[], completed_at=MOMENT)
    document = json.loads(result.to_json()) | {"seconds": 3}
    document["best"]["codec"] = "none"
    store.put(KEYS.output("result.json"), json.dumps(document).encode())
    assert read_result(store, KEYS) == result


class Lagging(Wrapped):
    """A bucket whose listing does not show some objects yet."""

    hidden = "nothing"

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return (info for info in self.store.list(prefix) if self.hidden not in info.key)


@pytest.mark.parametrize("hidden", ["-20-none-", "manifest.json", "state.pt"])
def test_what_was_just_stored_is_not_forgotten_because_the_listing_lags(store: FolderStore, hidden: str) -> None:
    known = [put(store, 10), put(store, 20)]
    lagging = Lagging(store)
    lagging.hidden = hidden
    assert steps(read_catalog(lagging, KEYS, known)) == [10, 20]
    for name in ("manifest.json", "state.pt"):
        store.delete(known[0].prefix(KEYS) + name)
    catalog = read_catalog(lagging, KEYS, known)
    assert (steps(catalog), catalog.broken, catalog.orphans) == ([20], {}, [])
