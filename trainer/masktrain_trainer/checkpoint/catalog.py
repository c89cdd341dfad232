"""What a job has in its store: its checkpoints, its result, and files of them brought back and verified."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from masktrain_trainer.config import CheckpointRef, Contract, Steps
from masktrain_trainer.errors import ObjectMissing
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import ObjectInfo, Store

from .keys import MANIFEST_FILE, MODEL_FILE, RESULT_FILE, JobKeys
from .manifest import LARGEST_MANIFEST, Manifest, OtherVersion

_DAMAGED = "manifest is damaged"


@dataclass(frozen=True)
class Catalog:
    """`manifests` are those of whole checkpoints. `broken` tells of the others what is wrong, by their names; of these
    `only_models` have their model, and `modelless` lack it, but best.pt may still hold it. `orphans` are files without
    a manifest, of uploads that go on or were cut off, and manifests without any file. `newest` is when the latest of
    all was stored, by the store's clock.
    """

    manifests: list[Manifest] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)
    only_models: list[Manifest] = field(default_factory=list)
    modelless: list[Manifest] = field(default_factory=list)
    orphans: list[ObjectInfo] = field(default_factory=list)
    newest: datetime | None = None


def read_catalog(store: Store, keys: JobKeys, known: Iterable[Manifest] = ()) -> Catalog:
    """One listing, and one read for each manifest that is not `known`: a manifest never changes.

    What is known but not listed is asked for by its key, because a listing may lag behind what was just stored.
    """
    folders: dict[str, dict[str, ObjectInfo]] = {}
    for info in store.list(keys.checkpoints):
        checkpoint_id = keys.checkpoint_id(info.key)
        folders.setdefault(checkpoint_id, {})[info.key.removeprefix(keys.checkpoint(checkpoint_id))] = info
    remembered = {manifest.id: manifest for manifest in known}
    for manifest in remembered.values():
        _look_closer(store, manifest.prefix(keys), manifest, folders.setdefault(manifest.id, {}))
    catalog = Catalog(
        newest=max((info.modified for files in folders.values() for info in files.values()), default=None)
    )
    for checkpoint_id, files in folders.items():
        if MANIFEST_FILE not in files:
            catalog.orphans.extend(files.values())
            continue
        with contextlib.suppress(ObjectMissing):  # deleted since it was listed
            key = keys.checkpoint(checkpoint_id) + MANIFEST_FILE
            found = remembered.get(checkpoint_id) or _read_manifest(store, key, files[MANIFEST_FILE].size)
            _enter(catalog, checkpoint_id, files, found)
    return catalog


def _look_closer(store: Store, prefix: str, manifest: Manifest, files: dict[str, ObjectInfo]) -> None:
    for name in (MANIFEST_FILE, *(file.name for file in manifest.files)):
        if name not in files:
            found = store.head(prefix + name)
            if found is not None:
                files[name] = found
            elif name == MANIFEST_FILE:
                return  # deleted, so the files go too


def read_manifests(store: Store, keys: JobKeys) -> list[Manifest]:
    """Every checkpoint that exists."""
    return read_catalog(store, keys).manifests


def _enter(catalog: Catalog, checkpoint_id: str, files: Mapping[str, ObjectInfo], manifest: Manifest | str) -> None:
    """`manifest` may be what is wrong with it."""
    if isinstance(manifest, str):
        catalog.broken[checkpoint_id] = manifest
    # Ordering goes by the folder's name too: a manifest that names another folder contradicts what it is listed under.
    elif manifest.id != checkpoint_id:
        catalog.broken[checkpoint_id] = _DAMAGED
    elif problems := _problems(manifest, files):
        catalog.broken[checkpoint_id] = next(iter(problems.values()))
        if not any(file.name in files for file in manifest.files):
            catalog.orphans.append(files[MANIFEST_FILE])
        if manifest.has_model:
            (catalog.modelless if MODEL_FILE in problems else catalog.only_models).append(manifest)
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


def _read_manifest(store: Store, key: str, size: int) -> Manifest | str:
    """The manifest, or what is wrong with it."""
    if size > LARGEST_MANIFEST:
        return _DAMAGED
    try:
        return Manifest.unseal(store.read(key))
    except OtherVersion as error:
        return f"manifest is of another version of MaskTrain ({error})"
    # Only what was read and is nonsense: a StoreError passes, since an outage must not look like a damaged checkpoint.
    except ValueError:
        return _DAMAGED


# Unknown keys are a newer version's, as in a manifest.
class Result(Contract, extra="ignore"):
    """Written when all outputs are in place. `metrics` are those that best.pt says of itself.

    `steps`: for a container that finds the job complete, and has to say what became of them.
    """

    uid: str
    best: CheckpointRef
    metrics: dict[str, float]
    outputs: list[str]
    completed_at: datetime
    steps: Steps = Steps()


def read_any_result(store: Store, keys: JobKeys) -> Result | None:
    """The result that lies there, maybe of an earlier job of the same name."""
    try:
        return Result.model_validate_json(store.read(keys.output(RESULT_FILE)))
    # Of another version, or damaged: to complete once more is safe, to trust it is not.
    except (ObjectMissing, ValueError):
        return None


def read_result(store: Store, keys: JobKeys) -> Result | None:
    """The result of this very job, not of an earlier one of the same name; its best.pt may be gone since."""
    result = read_any_result(store, keys)
    return result if result is not None and result.uid == keys.uid else None


def fetch_problem(store: Store, key: str, sha256: str, path: Path) -> str | None:
    """Download to `path`; None if the content is the expected one, else what is wrong. Raises StoreError."""
    try:
        store.download(key, path)
    except ObjectMissing:
        return "gone"
    return None if sha256_of(path) == sha256 else "damaged"
