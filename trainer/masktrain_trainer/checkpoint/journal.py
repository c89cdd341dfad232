"""The manifests and claims of one job, read from its store."""

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass

from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing

from .keys import MANIFEST_FILE, Fence, JobKeys
from .manifest import Manifest


@dataclass(frozen=True)
class Journal:
    """`unreadable` names checkpoints with a damaged manifest; `orphans` are the keys of files without a manifest."""

    manifests: list[Manifest]
    unreadable: list[str]
    orphans: list[str]


def read_journal(store: Store, keys: JobKeys, known: Iterable[Manifest] = ()) -> Journal:
    """One listing, and one read for each manifest that is not `known`: a manifest never changes."""
    folders: dict[str, list[str]] = {}
    for info in store.list(keys.checkpoints):
        folders.setdefault(keys.checkpoint_id(info.key), []).append(info.key)
    found = {manifest.id: manifest for manifest in known if manifest.id in folders}
    journal = Journal([], [], [])
    for checkpoint_id, files in folders.items():
        manifest_key = keys.checkpoint(checkpoint_id) + MANIFEST_FILE
        if manifest_key not in files:
            journal.orphans.extend(files)
            continue
        with contextlib.suppress(ObjectMissing):  # deleted since it was listed
            _enter(journal, checkpoint_id, found.get(checkpoint_id) or _read(store, manifest_key))
    return journal


def read_manifests(store: Store, keys: JobKeys) -> list[Manifest]:
    """Every checkpoint that exists."""
    return read_journal(store, keys).manifests


def read_claims(store: Store, keys: JobKeys) -> dict[Fence, list[str]]:
    """The claimed fences, with the pod uids of those that claimed without the server's guarantee."""
    claims: dict[Fence, list[str]] = {}
    for info in store.list(keys.runs):
        text, _, pod_uid = info.key.removeprefix(keys.runs).partition("-")
        with contextlib.suppress(ValueError):  # somebody else's file
            claims.setdefault(Fence.parse(text), []).append(pod_uid)
    return claims


def _enter(journal: Journal, checkpoint_id: str, manifest: Manifest | None) -> None:
    if manifest is None or manifest.id != checkpoint_id:
        journal.unreadable.append(checkpoint_id)
    else:
        journal.manifests.append(manifest)


def _read(store: Store, key: str) -> Manifest | None:
    try:
        return Manifest.unseal(store.read(key))
    except ValueError:
        return None
