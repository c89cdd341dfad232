"""Making a checkpoint exist: files first, each verified, the manifest last."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

from masktrain_trainer.config import CheckpointRef
from masktrain_trainer.stores import ObjectInfo, Store
from masktrain_trainer.stores.errors import StoreUnavailable

from .journal import read_claims
from .keys import MANIFEST_FILE, Fence, JobKeys
from .local_file import LocalFile
from .manifest import Manifest, StoredFile
from .snapshot_meta import SnapshotMeta


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
