"""Bringing everything that follows from the manifests in line with them: best.pt, pointers, deletions.

Done after every checkpoint and when an uploader starts, so that a kill at any point is repaired by whoever comes next.
"""

from dataclasses import dataclass

from masktrain_trainer.config import CheckpointRef, Keep
from masktrain_trainer.stores import Store

from .journal import Journal
from .keys import MODEL_FILE, STATE_FILE, Fence, JobKeys
from .manifest import Manifest, best, newest_first
from .pointers import Pointers
from .publish import is_stored, reference, refuse_if_fenced, verify
from .retention import retain


@dataclass(frozen=True)
class Standing:
    """What a job has in its store."""

    best: CheckpointRef | None = None
    last: CheckpointRef | None = None


def settle(store: Store, keys: JobKeys, fence: Fence, journal: Journal, *, pointers: Pointers, keep: Keep) -> Standing:
    """Raises Fenced, or StoreError if best.pt could not be refreshed."""
    refuse_if_fenced(store, keys, fence)
    top = best(journal.manifests)
    newest = next(iter(newest_first(journal.manifests)), None)
    standing = Standing(
        best=None if top is None else refresh_best(store, keys, top),
        last=None if newest is None else _last(store, keys, newest),
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


def _last(store: Store, keys: JobKeys, manifest: Manifest) -> CheckpointRef | None:
    if manifest.file(STATE_FILE) is None:
        return None
    return reference(store, manifest, STATE_FILE, manifest.prefix(keys) + STATE_FILE, verified_at=manifest.created_at)
