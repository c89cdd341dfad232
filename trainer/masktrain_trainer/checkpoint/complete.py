"""The end of a job: its best model proven to be among the outputs, and only then everything else deleted."""

import logging
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from masktrain_trainer.config import CheckpointRef, Keep
from masktrain_trainer.stores import Store
from masktrain_trainer.weights.load import load_model_file

from .fetch import fetch_problem
from .journal import read_manifests
from .keys import BEST_FILE, MODEL_FILE, RESULT_FILE, Fence, JobKeys
from .manifest import Manifest, models_best_first
from .publish import reference, refuse_if_fenced
from .result import Result, read_result
from .retention import clean_up, discard_unfinished, kept_when_complete

log = logging.getLogger(__name__)


class NothingToPublish(Exception):
    """No checkpoint has a model that reads back."""


def complete(store: Store, keys: JobKeys, fence: Fence, artifacts: Path, keep: Keep) -> Result:
    """Publish best.pt, read it back, publish the artifacts, write the result, clean up. May be repeated after a kill.

    Raises NothingToPublish, Fenced, or StoreError.
    """
    refuse_if_fenced(store, keys, fence)
    for name in (BEST_FILE, RESULT_FILE):
        discard_unfinished(store, keys.output(name))
    manifests = read_manifests(store, keys)
    finished = read_result(store, keys)
    if finished is not None and proven_metrics(store, keys.output(BEST_FILE), finished.best.sha256) is not None:
        clean_up(store, keys, kept_when_complete(manifests, keep))  # where an earlier try was cut off
        return finished
    best, metrics = _publish_best(store, keys, models_best_first(manifests))
    outputs = [best.uri, *_publish_artifacts(store, keys, artifacts), store.uri(keys.output(RESULT_FILE))]
    result = Result(uid=keys.uid, best=best, metrics=metrics, outputs=outputs, completed_at=datetime.now(UTC))
    refuse_if_fenced(store, keys, fence)
    store.put(keys.output(RESULT_FILE), result.to_json().encode())
    clean_up(store, keys, kept_when_complete(manifests, keep))
    return result


def proven_metrics(store: Store, key: str, sha256: str) -> dict[str, float] | None:
    """What the model file at `key` says of itself, if it has the expected content: downloaded, hashed and loaded."""
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / BEST_FILE
        problem = fetch_problem(store, key, sha256, local)
        if problem is None:
            return load_model_file(local).metrics
    log.warning("%s is %s", store.uri(key), problem)
    return None


def _publish_best(
    store: Store, keys: JobKeys, candidates: Sequence[Manifest]
) -> tuple[CheckpointRef, dict[str, float]]:
    """The first model that reads back from among the outputs, and its metrics."""
    target = keys.output(BEST_FILE)
    for manifest in candidates:
        file = manifest.file(MODEL_FILE)
        assert file is not None
        for source in _copies(store, keys, manifest):
            store.copy(source, target)
            metrics = proven_metrics(store, target, file.sha256)
            if metrics is not None:
                return reference(store, manifest, MODEL_FILE, target), metrics
    raise NothingToPublish(
        "No stored checkpoint has a model that reads back: there is nothing that best.pt could be made of."
    )


def _copies(store: Store, keys: JobKeys, manifest: Manifest) -> list[str]:
    """Where the checkpoint's model is stored, the bucket's second copy last."""
    file = manifest.file(MODEL_FILE)
    assert file is not None
    places = (manifest.prefix(keys) + MODEL_FILE, keys.best)
    sizes = {key: found.size for key in places if (found := store.head(key)) is not None}
    return [key for key, size in sizes.items() if size == file.size_bytes]


def _publish_artifacts(store: Store, keys: JobKeys, folder: Path) -> list[str]:
    files = sorted(path for path in folder.glob("*") if path.is_file() and path.name not in (BEST_FILE, RESULT_FILE))
    for path in files:
        discard_unfinished(store, keys.output(path.name))
        store.put(keys.output(path.name), path)
    return [store.uri(keys.output(path.name)) for path in files]
