"""One run's writes to its job's store: a checkpoint, what follows from the checkpoints, and the job's end."""

import logging
import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from masktrain_trainer.config import CheckpointRef, Contract, Keep
from masktrain_trainer.errors import ObjectMissing, PreconditionFailed, StoreError, StoreUnavailable
from masktrain_trainer.stores import ObjectInfo, Store

from .catalog import Catalog, Result, fetch_problem, read_manifests, read_result
from .fence import read_claims
from .keys import BEST_FILE, MANIFEST_FILE, MODEL_FILE, RESULT_FILE, STATE_FILE, Fence, JobKeys
from .manifest import LocalFile, Manifest, StoredFile, best, models_best_first, newest_first
from .retention import clean_up, discard_unfinished, kept_when_complete, retain
from .spool import SnapshotMeta

log = logging.getLogger(__name__)
_TRIES = 5


class Pointer(Contract):
    """`attempt` and `run` are the fence of whoever moved it."""

    attempt: int
    run: int
    checkpoint: str


@dataclass
class Pointers:
    """The pointers of a job, as the writer with this fence moves them."""

    store: Store
    keys: JobKeys
    fence: Fence

    @cached_property
    def _work(self) -> bool:
        return self.store.honours_conditional_writes()

    def move(self, name: str, manifest: Manifest) -> None:
        """Point `name` at a checkpoint, unless a writer with a higher fence has. Never raises: it is only a cache."""
        try:
            if self._work and not any(self._try(name, manifest) for _ in range(_TRIES)):
                log.warning("pointer %s stays: other writers move it", name)
        except StoreError as error:
            log.warning("pointer %s stays: %s", name, error)

    def _try(self, name: str, manifest: Manifest) -> bool:
        """Whether nothing is left to do."""
        key = self.keys.pointer(name)
        pointer = Pointer(attempt=self.fence.attempt, run=self.fence.run, checkpoint=manifest.id)
        current, etag = self._read(key)
        if current is not None and (current == pointer or Fence(current.attempt, current.run) > self.fence):
            return True
        try:
            self.store.put(key, pointer.to_json().encode(), if_absent=etag is None, if_match=etag)
        except PreconditionFailed:
            return False
        return True

    def _read(self, key: str) -> tuple[Pointer | None, str | None]:
        try:
            content, etag = self.store.read_with_etag(key)
        except ObjectMissing:
            return None, None
        try:
            return Pointer.model_validate_json(content), etag
        except ValueError:
            return None, etag


class Fenced(Exception):
    """A later container of this job has claimed a run: this one must not write any more."""


def publish(store: Store, keys: JobKeys, fence: Fence, files: Sequence[LocalFile], meta: SnapshotMeta) -> Manifest:
    """Store a checkpoint; repeated after a failure, it sends only what is missing.

    Raises Fenced, or StoreError if anything could not be proven.
    """
    refuse_if_fenced(store, keys, fence)
    manifest = _manifest(fence, files, meta)
    prefix = manifest.prefix(keys)
    for file in files:
        if not is_stored(file.stored(), store.head(prefix + file.name)):
            verify(file.stored(), store.put(prefix + file.name, file.path, sha256=file.sha256))
    store.put(prefix + MANIFEST_FILE, manifest.seal())
    return manifest


def refuse_if_fenced(store: Store, keys: JobKeys, fence: Fence) -> None:
    """Raise Fenced if a higher fence was claimed, or none at all is left: then another run has finished the job."""
    newest = max(read_claims(store, keys), default=None)
    if newest is None:
        raise Fenced(f"This job is finished or deleted; run {fence} stops writing.")
    if newest > fence:
        raise Fenced(f"Run {newest} of this job writes now; run {fence} stops writing.")


def is_stored(expected: StoredFile, found: ObjectInfo | None) -> bool:
    """Whether the store shows the file that is meant, by size and checksum."""
    return found is not None and (found.size, found.sha256) == (expected.size_bytes, expected.sha256)


def verify(expected: StoredFile, found: ObjectInfo | None) -> None:
    """Raise StoreUnavailable unless the store shows the file that is meant; some servers lose the checksum."""
    if found is None or found.size != expected.size_bytes or found.sha256 not in (None, expected.sha256):
        raise StoreUnavailable(f"{expected.name} was uploaded, but the store shows another file than was sent.")


def reference(
    store: Store, manifest: Manifest, name: str, key: str, *, verified_at: datetime | None = None
) -> CheckpointRef:
    """A verified file of a checkpoint, for the job's status; verified now unless said otherwise."""
    file = manifest.file(name)
    assert file is not None, f"{manifest.id} has no {name}"
    return CheckpointRef(
        uri=store.uri(key),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        epoch=manifest.epoch,
        step=manifest.step,
        fitness=manifest.fitness,
        verified_at=verified_at or datetime.now(UTC),
    )


def _manifest(fence: Fence, files: Sequence[LocalFile], meta: SnapshotMeta) -> Manifest:
    return Manifest(
        attempt=fence.attempt,
        run=fence.run,
        epoch=meta.epoch,
        step=meta.step,
        fitness=meta.fitness if meta.fitness is not None and math.isfinite(meta.fitness) else None,
        periodic=meta.periodic,
        created_at=datetime.now(UTC),
        files=[file.stored() for file in files],
    )


@dataclass(frozen=True)
class CheckpointRefs:
    """What a job has in its store."""

    best: CheckpointRef | None = None
    last: CheckpointRef | None = None


def reconcile(
    store: Store, keys: JobKeys, fence: Fence, journal: Catalog, *, pointers: Pointers, keep: Keep
) -> CheckpointRefs:
    """Raises Fenced, or StoreError if best.pt could not be refreshed."""
    refuse_if_fenced(store, keys, fence)
    top = best(journal.manifests)
    newest = next(iter(newest_first(journal.manifests)), None)
    standing = CheckpointRefs(
        best=None if top is None else refresh_best(store, keys, top),
        last=None if newest is None else _last_state(store, keys, newest),
    )
    for name, manifest in (("last", newest), ("best", top)):
        if manifest is not None:
            pointers.move(name, manifest)
    retain(store, keys, fence, journal, keep)
    return standing


def refresh_best(store: Store, keys: JobKeys, manifest: Manifest) -> CheckpointRef:
    """Have the checkpoint's model as `best.pt`, so that every ending leaves one."""
    file = manifest.file(MODEL_FILE)
    assert file is not None, f"{manifest.id} has no {MODEL_FILE}"
    if not is_stored(file, store.head(keys.best)):
        store.copy(manifest.prefix(keys) + MODEL_FILE, keys.best)
        verify(file, store.head(keys.best))
    return reference(store, manifest, MODEL_FILE, keys.best, verified_at=manifest.created_at)


def _last_state(store: Store, keys: JobKeys, manifest: Manifest) -> CheckpointRef | None:
    if manifest.file(STATE_FILE) is None:
        return None
    return reference(store, manifest, STATE_FILE, manifest.prefix(keys) + STATE_FILE, verified_at=manifest.created_at)


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
    from masktrain_trainer.weights.load import load_model_file  # noqa: PLC0415 - torch, which restoring does without

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
        for source in _model_copies(store, keys, manifest):
            store.copy(source, target)
            metrics = proven_metrics(store, target, file.sha256)
            if metrics is not None:
                return reference(store, manifest, MODEL_FILE, target), metrics
    raise NothingToPublish(
        "No stored checkpoint has a model that reads back: there is nothing that best.pt could be made of."
    )


def _model_copies(store: Store, keys: JobKeys, manifest: Manifest) -> list[str]:
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
