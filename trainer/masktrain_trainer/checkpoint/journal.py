"""The manifests and claims of one job, read from its store."""

from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing

from .keys import MANIFEST_FILE, Fence, JobKeys
from .manifest import Manifest


def read_manifests(store: Store, keys: JobKeys) -> list[Manifest]:
    """Every checkpoint that exists. An unreadable manifest is none; one deleted since the listing too."""
    found = [info.key for info in store.list(keys.checkpoints) if info.key.endswith(f"/{MANIFEST_FILE}")]
    manifests = (_read(store, key) for key in found)
    return [manifest for manifest in manifests if manifest is not None]


def read_claims(store: Store, keys: JobKeys) -> dict[Fence, list[str]]:
    """The claimed fences, with the pod uids of those that claimed without the server's guarantee."""
    claims: dict[Fence, list[str]] = {}
    for info in store.list(keys.runs):
        fence, _, pod_uid = info.key.removeprefix(keys.runs).partition("-")
        claims.setdefault(Fence.parse(fence), []).append(pod_uid)
    return claims


def _read(store: Store, key: str) -> Manifest | None:
    try:
        return Manifest.model_validate_json(store.read(key))
    except (ObjectMissing, ValueError):
        return None
