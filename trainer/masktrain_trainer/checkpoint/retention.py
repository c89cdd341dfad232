"""Which checkpoints may go, and deleting them so that no reader ever trusts a half-deleted one."""

import logging
from collections.abc import Iterable, Sequence

from masktrain_trainer.config import Keep
from masktrain_trainer.errors import StoreError
from masktrain_trainer.stores import Store

from .catalog import Catalog
from .keys import MANIFEST_FILE, Fence, JobKeys
from .manifest import Manifest, best, newest_first

log = logging.getLogger(__name__)

KEEP_WHILE_RUNNING = 2  # the newest may turn out unreadable when it is needed


def superseded(manifests: Iterable[Manifest], fence: Fence, keep: Keep) -> list[Manifest]:
    """What may be deleted while the job runs: neither the best nor the newest two, no periodic one, nothing of a higher
    fence. Pure.
    """
    if keep is Keep.ALL:
        return []
    ordered = newest_first(manifests)
    kept = [*ordered[:KEEP_WHILE_RUNNING], best(ordered), *_periodic(ordered)]
    return [manifest for manifest in ordered if manifest not in kept and manifest.fence <= fence]


def abandoned(orphans: Iterable[str], keys: JobKeys, fence: Fence) -> list[str]:
    """Files of uploads that were cut off, by this writer or one before it. Pure."""
    return [key for key in orphans if _fence_of(keys.checkpoint_id(key), above=fence) <= fence]


def kept_when_complete(manifests: Sequence[Manifest], keep: Keep) -> list[Manifest]:
    """What stays below the job's uid once its best.pt is proven to be among the outputs; periodic ones always. Pure."""
    if keep is Keep.BEST:
        return _periodic(manifests)
    if keep is Keep.ALL:
        return list(manifests)
    chosen = [best(manifests), *newest_first(manifests)[:1], *_periodic(manifests)]
    return [manifest for manifest in manifests if manifest in chosen]


def _periodic(manifests: Iterable[Manifest]) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest.periodic]


def retain(store: Store, keys: JobKeys, fence: Fence, journal: Catalog, keep: Keep) -> None:
    """Delete what is no longer needed. Never worth an error: what stays now goes after the next checkpoint."""
    try:
        for manifest in superseded(journal.manifests, fence, keep):
            delete_checkpoint(store, keys, manifest)
        for key in abandoned(journal.orphans, keys, fence):
            store.delete(key)
    except StoreError as error:
        log.warning("older checkpoints stay for now: %s", error)


def delete_checkpoint(store: Store, keys: JobKeys, manifest: Manifest) -> None:
    """The manifest first: from then on the checkpoint does not exist, whatever happens to the rest."""
    prefix = manifest.prefix(keys)
    store.delete(prefix + MANIFEST_FILE)
    for file in manifest.files:
        store.delete(prefix + file.name)


def clean_up(store: Store, keys: JobKeys, kept: Sequence[Manifest]) -> None:
    """Delete everything below the job's uid but the kept checkpoints; also what killed uploads left.

    Pointers go first, then manifests, then files, the claims last: they hold off a writer that was cut off.
    """
    discard_unfinished(store, keys.root)
    prefixes = tuple(manifest.prefix(keys) for manifest in kept)
    doomed = [info.key for info in store.list(keys.root) if not (prefixes and info.key.startswith(prefixes))]
    for key in sorted(doomed, key=lambda key: _turn(key, keys)):
        store.delete(key)


def discard_unfinished(store: Store, prefix: str) -> None:
    """Also never worth an error: not every server knows how."""
    try:
        store.discard_unfinished(prefix)
    except StoreError as error:
        log.warning("unfinished uploads stay for now: %s", error)


def _turn(key: str, keys: JobKeys) -> tuple[bool, bool, bool, str]:
    return (key.startswith(keys.runs), not key.startswith(keys.pointers), not key.endswith(MANIFEST_FILE), key)


def _fence_of(checkpoint_id: str, *, above: Fence) -> Fence:
    """Whose checkpoint it is; a name that is none counts as somebody else's."""
    try:
        return Fence.of_checkpoint(checkpoint_id)
    except ValueError:
        return Fence(above.attempt + 1, 0)
