"""What a job has in its store: its checkpoints, its result, and files of them brought back and verified."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from masktrain_trainer.config import CheckpointRef, Contract
from masktrain_trainer.errors import ObjectMissing
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import ObjectInfo, Store

from .keys import MANIFEST_FILE, MODEL_FILE, RESULT_FILE, JobKeys
from .manifest import Manifest


@dataclass(frozen=True)
class Catalog:
    """`manifests` are those of whole checkpoints. `broken` tells of the others what is wrong, by their names; of these
    `modelless` lack only the model, which best.pt may still hold. `orphans` are files without a manifest: of uploads
    that go on or were cut off.
    """

    manifests: list[Manifest] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    modelless: list[Manifest] = field(default_factory=list)
    orphans: list[ObjectInfo] = field(default_factory=list)


def read_catalog(store: Store, keys: JobKeys, known: Iterable[Manifest] = ()) -> Catalog:
    """One listing, and one read for each manifest that is not `known`: a manifest never changes."""
    folders: dict[str, dict[str, ObjectInfo]] = {}
    for info in store.list(keys.checkpoints):
        checkpoint_id = keys.checkpoint_id(info.key)
        folders.setdefault(checkpoint_id, {})[info.key.removeprefix(keys.checkpoint(checkpoint_id))] = info
    remembered = {manifest.id: manifest for manifest in known}
    catalog = Catalog()
    for checkpoint_id, files in folders.items():
        if MANIFEST_FILE not in files:
            catalog.orphans.extend(files.values())
            continue
        with contextlib.suppress(ObjectMissing):  # deleted since it was listed
            key = keys.checkpoint(checkpoint_id) + MANIFEST_FILE
            _enter(catalog, checkpoint_id, files, remembered.get(checkpoint_id) or _read_manifest(store, key))
    return catalog


def read_manifests(store: Store, keys: JobKeys) -> list[Manifest]:
    """Every checkpoint that exists."""
    return read_catalog(store, keys).manifests


def _enter(catalog: Catalog, checkpoint_id: str, files: Mapping[str, ObjectInfo], manifest: Manifest | None) -> None:
    # Ordering goes by the folder's name too: a manifest that names another folder contradicts what it is listed under.
    if manifest is None or manifest.id != checkpoint_id:
        catalog.broken[checkpoint_id] = f"{MANIFEST_FILE.removesuffix('.json')} is damaged"
    elif problems := _problems(manifest, files):
        catalog.broken[checkpoint_id] = next(iter(problems.values()))
        if list(problems) == [MODEL_FILE]:
            catalog.modelless.append(manifest)
    else:
        catalog.manifests.append(manifest)


def _problems(manifest: Manifest, files: Mapping[str, ObjectInfo]) -> dict[str, str]:
    """By file, what a listing can tell; a changed content of the same size shows when it is read."""
    found = {}
    for file in manifest.files:
        if file.name not in files:
            found[file.name] = f"{file.name} is gone"
        elif files[file.name].size != file.size_bytes:
            found[file.name] = f"{file.name} is damaged"
    return found


def _read_manifest(store: Store, key: str) -> Manifest | None:
    try:
        return Manifest.unseal(store.read(key))
    # Only what was read and is nonsense: a StoreError passes, since an outage must not look like a damaged checkpoint.
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
    # Of another version, or damaged: to complete once more is safe, to trust it is not.
    except (ObjectMissing, ValueError):
        return None
    return result if result.uid == keys.uid else None


def fetch_problem(store: Store, key: str, sha256: str, path: Path) -> str | None:
    """Download to `path`; None if the content is the expected one, else what is wrong. Raises StoreError."""
    try:
        store.download(key, path)
    except ObjectMissing:
        return "gone"
    return None if sha256_of(path) == sha256 else "damaged"
