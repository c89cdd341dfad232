"""Which checkpoint becomes best.pt, which one a resume takes, and which may go.

What may go is deleted so that no reader ever trusts a half-deleted checkpoint. What a lower fence has left is deleted
only when it is old: its writer may be alive behind a partition, between its last look at the fence and its manifest,
and must not lose files under that manifest.
"""

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from masktrain_trainer.config import Keep
from masktrain_trainer.errors import StoreError
from masktrain_trainer.stores import ObjectInfo, Store

from .keys import MANIFEST_FILE, Fence, JobKeys
from .manifest import Manifest

log = logging.getLogger(__name__)

KEEP_WHILE_RUNNING = 2  # the newest may turn out unreadable when it is needed

LONGEST_UPLOAD = timedelta(hours=1)
"""After which a writer gives an upload up and begins it anew (a checkpoint has at most some hundred MB)."""

SWEEP_AGE = 3 * LONGEST_UPLOAD
"""How old leavings of lower fences must be. A manifest may follow a file by two uploads' time: the file may be that of
an earlier try, taken over until it is `LONGEST_UPLOAD` old, and the try that takes it over may last as long. The third
hour covers the store's last retries and clocks that differ."""


def newest_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """By attempt, run and step: a later run counts as newer even if it was cut off earlier."""
    return sorted(manifests, key=lambda manifest: manifest.age_order, reverse=True)


def best(manifests: Iterable[Manifest]) -> Manifest | None:
    """What best.pt is made of: the highest fitness, the earliest on a tie, and the newest while none is above zero;
    None if no validated one has a model.
    """
    return next((manifest for manifest in models_best_first(manifests) if manifest.fitness is not None), None)


def models_best_first(manifests: Iterable[Manifest]) -> list[Manifest]:
    """Checkpoints whose model could be a job's result: those with a fitness by that; then, newest first, those whose
    validation found none, and those without a validation.

    The job's end publishes the first of them that reads back, so that a damaged best one leaves the second best.
    """
    with_model = [manifest for manifest in newest_first(manifests) if manifest.has_model]
    return sorted(with_model, key=_rank)


def surpasses(fitness: float, best_so_far: float) -> bool:
    """Whether a newer model is the better one: as long as none has a fitness above zero, by being newer."""
    return fitness > best_so_far or fitness == best_so_far <= 0


def _rank(manifest: Manifest) -> tuple[Any, ...]:
    """Sorts what comes newest first. Only what has a fitness is told apart by its rank: all else keeps its order."""
    if manifest.fitness is None:
        return (2,)
    # Zero says nothing of a model but that it was looked at: the epochs before it have learnt less.
    return (0, -manifest.fitness, manifest.age_order) if manifest.fitness > 0 else (1,)


def superseded(manifests: Iterable[Manifest], fence: Fence, keep: Keep, now: datetime) -> list[Manifest]:
    """What may be deleted while the job runs: neither the best nor the newest two, no periodic one, nothing of a higher
    fence and nothing young of a lower one. Pure.
    """
    if keep is Keep.ALL:
        return []
    ordered = newest_first(manifests)
    kept = [*ordered[:KEEP_WHILE_RUNNING], best(ordered), *_periodic(ordered)]
    return [one for one in ordered if one not in kept and _may_delete(one.fence, one.created_at, fence, now)]


def abandoned(orphans: Iterable[ObjectInfo], keys: JobKeys, fence: Fence, now: datetime) -> list[str]:
    """Files of uploads that were cut off, by this writer or, long ago, by one before it; manifests that lost all their
    files only when they are old, too, whoever's they are. Pure.
    """
    return [
        info.key
        for info in orphans
        # Files of other people have other names, and are not ours to delete.
        if (writer := _fence_of(keys.checkpoint_id(info.key))) is not None
        and _may_delete(writer, info.modified, fence, now)
        and (not info.key.endswith(MANIFEST_FILE) or now - info.modified > SWEEP_AGE)
    ]


def _may_delete(writer: Fence, written: datetime, fence: Fence, now: datetime) -> bool:
    # A writer stores one checkpoint at a time and asks in between, so nothing of its own fence is still under way.
    return writer == fence or (writer < fence and now - written > SWEEP_AGE)


def _fence_of(checkpoint_id: str) -> Fence | None:
    """Whose checkpoint it is; None if the name is that of none."""
    try:
        return Fence.of_checkpoint(checkpoint_id)
    except ValueError:
        return None


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


def delete_checkpoint(store: Store, keys: JobKeys, manifest: Manifest) -> None:
    """The manifest first: from then on the checkpoint does not exist, whatever happens to the rest."""
    prefix = manifest.prefix(keys)
    store.delete(prefix + MANIFEST_FILE)
    for file in manifest.files:
        store.delete(prefix + file.name)


def delete_all_but(store: Store, keys: JobKeys, kept: Sequence[Manifest]) -> None:
    """Delete everything below the job's uid but the kept checkpoints; also what killed uploads left.

    Manifests go first, then files, the claims last: they hold off a writer that was cut off.
    """
    discard_unfinished(store, keys.root)
    prefixes = tuple(manifest.prefix(keys) for manifest in kept)
    doomed = [info.key for info in store.list(keys.root) if not (prefixes and info.key.startswith(prefixes))]
    for key in sorted(doomed, key=lambda key: (key.startswith(keys.runs), not key.endswith(MANIFEST_FILE), key)):
        store.delete(key)


def discard_unfinished(store: Store, prefix: str, *, before: datetime | None = None) -> None:
    """Also never worth an error: not every server knows how."""
    try:
        store.discard_unfinished(prefix, before=before)
    except StoreError as error:
        log.warning("unfinished uploads stay for now: %s", error)
