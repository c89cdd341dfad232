"""What a job has in its store: its checkpoints, its result, and files of them brought back and verified."""

import contextlib
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from masktrain_trainer.config import CheckpointRef, Contract
from masktrain_trainer.errors import ObjectMissing
from masktrain_trainer.stores import Store

from .keys import MANIFEST_FILE, RESULT_FILE, JobKeys
from .manifest import Manifest


@dataclass(frozen=True)
class Catalog:
    """`unreadable` names checkpoints with a damaged manifest; `orphans` are the keys of files without a manifest."""

    manifests: list[Manifest]
    unreadable: list[str]
    orphans: list[str]


def read_catalog(store: Store, keys: JobKeys, known: Iterable[Manifest] = ()) -> Catalog:
    """One listing, and one read for each manifest that is not `known`: a manifest never changes."""
    folders: dict[str, list[str]] = {}
    for info in store.list(keys.checkpoints):
        folders.setdefault(keys.checkpoint_id(info.key), []).append(info.key)
    found = {manifest.id: manifest for manifest in known if manifest.id in folders}
    journal = Catalog([], [], [])
    for checkpoint_id, files in folders.items():
        manifest_key = keys.checkpoint(checkpoint_id) + MANIFEST_FILE
        if manifest_key not in files:
            journal.orphans.extend(files)
            continue
        with contextlib.suppress(ObjectMissing):  # deleted since it was listed
            _enter(journal, checkpoint_id, found.get(checkpoint_id) or _read_manifest(store, manifest_key))
    return journal


def read_manifests(store: Store, keys: JobKeys) -> list[Manifest]:
    """Every checkpoint that exists."""
    return read_catalog(store, keys).manifests


def _enter(journal: Catalog, checkpoint_id: str, manifest: Manifest | None) -> None:
    if manifest is None or manifest.id != checkpoint_id:
        journal.unreadable.append(checkpoint_id)
    else:
        journal.manifests.append(manifest)


def _read_manifest(store: Store, key: str) -> Manifest | None:
    try:
        return Manifest.unseal(store.read(key))
    except ValueError:
        return None


class Result(Contract):
    """Written when all outputs are in place. `metrics` are those that best.pt says of itself."""

    uid: str
    best: CheckpointRef
    metrics: dict[str, float]
    outputs: list[str]
    completed_at: datetime


def read_result(store: Store, keys: JobKeys) -> Result | None:
    """The result of this very job, not of an earlier one of the same name; its best.pt may be gone since."""
    try:
        result = Result.model_validate_json(store.read(keys.output(RESULT_FILE)))
    except (ObjectMissing, ValueError):
        return None
    return result if result.uid == keys.uid else None


def fetch_problem(store: Store, key: str, sha256: str, path: Path) -> str | None:
    """Download to `path`; None if the content is the expected one, else what is wrong. Raises StoreError."""
    try:
        store.download(key, path)
    except ObjectMissing:
        return "gone"
    return None if file_sha256(path) == sha256 else "damaged"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
