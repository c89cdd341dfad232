"""The end of a job: its best model proven to be among the outputs, and only then everything else deleted."""

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from masktrain_trainer.config import CheckpointRef, Contract, Keep
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing, StoreUnavailable

from .journal import read_manifests
from .keys import BEST_FILE, MODEL_FILE, RESULT_FILE, Fence, JobKeys
from .manifest import Manifest, best, newest_first
from .publish import reference, refuse_if_fenced
from .retention import clean_up, kept_when_complete


class Result(Contract):
    """`result.json`, written when all outputs are in place: the job of this uid is complete."""

    uid: str
    best: CheckpointRef
    outputs: list[str]
    completed_at: datetime


class NothingToPublish(Exception):
    """No checkpoint has a model."""


def complete(store: Store, keys: JobKeys, fence: Fence, artifacts: Path, keep: Keep) -> Result:
    """Publish best.pt, read it back, publish the artifacts, write the result, clean up. May be repeated after a kill.

    Raises NothingToPublish, Fenced, or StoreError.
    """
    refuse_if_fenced(store, keys, fence)
    manifests = read_manifests(store, keys)
    chosen = best_model(manifests)
    store.copy(chosen.prefix(keys) + MODEL_FILE, keys.output(BEST_FILE))
    proven = reference(store, chosen, MODEL_FILE, keys.output(BEST_FILE))
    if not reads_back(store, keys, proven):
        raise StoreUnavailable(f"{proven.uri} does not read back as it was written.")
    outputs = [proven.uri, *_publish_artifacts(store, keys, artifacts), store.uri(keys.output(RESULT_FILE))]
    result = Result(uid=keys.uid, best=proven, outputs=outputs, completed_at=datetime.now(UTC))
    store.put(keys.output(RESULT_FILE), result.to_json().encode())
    clean_up(store, keys, kept_when_complete(manifests, keep))
    return result


def completed(store: Store, keys: JobKeys) -> Result | None:
    """The result of this very job, if an earlier container finished it and its best.pt still reads back."""
    try:
        result = Result.model_validate_json(store.read(keys.output(RESULT_FILE)))
    except (ObjectMissing, ValueError):
        return None
    return result if result.uid == keys.uid and reads_back(store, keys, result.best) else None


def best_model(manifests: list[Manifest]) -> Manifest:
    """The best checkpoint, or without any validation the newest that has a model. Raises NothingToPublish."""
    with_model = [manifest for manifest in manifests if manifest.file(MODEL_FILE) is not None]
    chosen = best(with_model) or next(iter(newest_first(with_model)), None)
    if chosen is None:
        raise NothingToPublish("no checkpoint with a model was stored")
    return chosen


def reads_back(store: Store, keys: JobKeys, expected: CheckpointRef) -> bool:
    """Whether the output best.pt has the expected content: downloaded and hashed, not asked for."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / BEST_FILE
        try:
            store.download(keys.output(BEST_FILE), local)
        except ObjectMissing:
            return False
        with local.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected.sha256


def _publish_artifacts(store: Store, keys: JobKeys, folder: Path) -> list[str]:
    files = sorted(path for path in folder.glob("*") if path.is_file())
    for path in files:
        store.put(keys.output(path.name), path)
    return [store.uri(keys.output(path.name)) for path in files]
