"""`last.json` and `best.json`: what the manifests say, for whoever does not list them. A cache, not the truth."""

import logging

from masktrain_trainer.config import Contract
from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing, PreconditionFailed

from .keys import Fence, JobKeys
from .manifest import Manifest

log = logging.getLogger(__name__)


class Pointer(Contract):
    attempt: int
    run: int
    checkpoint: str


def move_pointer(store: Store, keys: JobKeys, name: str, manifest: Manifest, fence: Fence) -> None:
    """Point `name` at a checkpoint, unless a writer with a higher fence did."""
    pointer = Pointer(attempt=fence.attempt, run=fence.run, checkpoint=manifest.id)
    key = keys.pointer(name)
    current, etag = _read(store, key)
    if current is not None and Fence(current.attempt, current.run) > fence:
        return
    if current == pointer:
        return
    try:
        store.put(key, pointer.to_json().encode(), if_absent=etag is None, if_match=etag)
    except PreconditionFailed:
        log.info("pointer %s was moved by another writer", name)


def _read(store: Store, key: str) -> tuple[Pointer | None, str | None]:
    info = store.head(key)
    if info is None:
        return None, None
    try:
        return Pointer.model_validate_json(store.read(key)), info.etag
    except ObjectMissing:
        return None, None
    except ValueError:
        return None, info.etag
