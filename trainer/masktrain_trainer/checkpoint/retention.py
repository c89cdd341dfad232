"""Which checkpoints may go, and deleting them so that no reader ever trusts a half-deleted one."""

from collections.abc import Iterable, Sequence

from masktrain_trainer.config import Keep
from masktrain_trainer.stores import Store

from .keys import MANIFEST_FILE, Fence, JobKeys
from .manifest import Manifest, best, newest_first

KEEP_WHILE_RUNNING = 2  # the newest may turn out unreadable when it is needed


def superseded(manifests: Iterable[Manifest], fence: Fence, keep: Keep) -> list[Manifest]:
    """What may be deleted while the job runs: neither the best nor the newest two, nothing of a higher fence. Pure."""
    if keep is Keep.ALL:
        return []
    ordered = newest_first(manifests)
    kept = [*ordered[:KEEP_WHILE_RUNNING], best(ordered)]
    return [manifest for manifest in ordered if manifest not in kept and manifest.fence <= fence]


def kept_when_complete(manifests: Sequence[Manifest], keep: Keep) -> list[Manifest]:
    """What stays below the job's uid once its best.pt is proven to be among the outputs. Pure."""
    if keep is Keep.BEST:
        return []
    if keep is Keep.ALL:
        return list(manifests)
    chosen = [best(manifests), *newest_first(manifests)[:1]]
    return [manifest for manifest in manifests if manifest in chosen]


def delete_checkpoint(store: Store, keys: JobKeys, manifest: Manifest) -> None:
    """The manifest first: from then on the checkpoint does not exist, whatever happens to the rest."""
    prefix = manifest.prefix(keys)
    store.delete(prefix + MANIFEST_FILE)
    for file in manifest.files:
        store.delete(prefix + file.name)


def clean_up(store: Store, keys: JobKeys, kept: Sequence[Manifest]) -> None:
    """Delete everything below the job's uid but the kept checkpoints; also what killed uploads left. Claims go last."""
    prefixes = tuple(manifest.prefix(keys) for manifest in kept)
    doomed = [info.key for info in store.list(keys.root) if not (prefixes and info.key.startswith(prefixes))]
    for key in sorted(doomed, key=lambda key: (key.startswith(keys.runs), not key.endswith(MANIFEST_FILE), key)):
        store.delete(key)
