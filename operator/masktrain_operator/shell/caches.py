"""Everything the operator knows about the cluster: one cache per watched kind, and how full lists correct them.

kopf's own index keeps an object for ever when its deletion falls into a gap of the watch (after `410 Gone` kopf lists
anew and reports no deletions), and lags behind the operator's own writes. These caches are corrected by full lists, and
are told about our own writes at once.
"""

from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator

from masktrain_operator.core.manifests.metadata import labelled_uid
from masktrain_operator.core.types import Manifest

from .client import (
    JOBS,
    NAMESPACES,
    NODE_POOLS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SERVICES,
    TRAINING_JOBS,
    WATCHED,
    WATCHED_FOR_POOLS,
    KubernetesClient,
    ResourceKind,
)

REMEMBERED_DELETIONS = 20_000


class ObjectCache:
    """Bodies by uid, and by the uid of the MaskTrainingJob they belong to.

    Resource versions are compared as numbers, which Kubernetes guarantees for its own kinds and for custom resources.
    """

    def __init__(self, owner_of: Callable[[Manifest], str | None]) -> None:
        """`owner_of` names the MaskTrainingJob's uid of a body."""
        self._owner_of = owner_of
        self._bodies: dict[str, Manifest] = {}
        self._by_owner: defaultdict[str, dict[str, Manifest]] = defaultdict(dict)
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self.changes = 0
        """How often a body came, went or was replaced: what was derived from the cache holds as long as this stays."""
        self._changed: dict[str, int] = {}

    def put(self, body: Manifest) -> bool:
        """Keep the body unless a newer one is known or the object is gone. Returns whether it was news."""
        uid = uid_of(body)
        known = self._bodies.get(uid)
        if uid in self._deleted or (known is not None and version_of(known) >= version_of(body)):
            return False
        slim = _without_managed_fields(body)
        owner = self._owner_of(slim) or ""
        if known is not None and (self._owner_of(known) or "") != owner:
            self._discard(uid)
        # A body that is replaced keeps its place: what is derived from the cache does not change with its order.
        self._bodies[uid] = slim
        self._by_owner[owner][uid] = slim
        self._count_change(owner)
        return True

    def remove(self, uid: str) -> None:
        """The object was deleted; its uid never comes back, whatever a late event or an older list says."""
        self._discard(uid)
        self._deleted[uid] = None
        if len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)

    def replace(self, bodies: Iterable[Manifest], version: int, namespace: str | None = None) -> set[str]:
        """Correct the cache by a complete list taken at resource version `version`, of one namespace or of all.

        Returns the owners of objects that were different: what the watch had not told yet.
        """
        listed = {uid_of(body): body for body in bodies}
        changed = {self._owner_of(body) for body in listed.values() if self.put(body)}
        for body in [body for body in self if uid_of(body) not in listed and version_of(body) <= version]:
            if namespace in (None, body["metadata"].get("namespace")):
                changed.add(self._owner_of(body))
                self.remove(uid_of(body))
        return {owner for owner in changed if owner}

    def get(self, uid: str) -> Manifest | None:
        return self._bodies.get(uid)

    def owned_by(self, owner_uid: str) -> tuple[Manifest, ...]:
        """In the order of their names."""
        return tuple(sorted(self._by_owner.get(owner_uid, {}).values(), key=lambda body: str(body["metadata"]["name"])))

    def changed(self, owner_uid: str) -> int:
        """The number of the last change of what the owner has; 0 while it has nothing."""
        return self._changed.get(owner_uid, 0)

    def __iter__(self) -> Iterator[Manifest]:
        return iter(self._bodies.values())

    def __len__(self) -> int:
        return len(self._bodies)

    def _discard(self, uid: str) -> None:
        body = self._bodies.pop(uid, None)
        if body is None:
            return
        owner = self._owner_of(body) or ""
        del self._by_owner[owner][uid]
        self._count_change(owner)
        if not self._by_owner[owner]:
            del self._by_owner[owner], self._changed[owner]

    def _count_change(self, owner: str) -> None:
        """Numbers are never used again, so that a change that is undone is one, too."""
        self.changes += 1
        self._changed[owner] = self.changes


def uid_of(body: Manifest) -> str:
    return str(body["metadata"]["uid"])


def version_of(body: Manifest) -> int:
    return int(body["metadata"]["resourceVersion"])


def _without_managed_fields(body: Manifest) -> Manifest:
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}


class KnownObjects:
    """The caches. What was made for a job belongs to the job whose uid it is labelled with, all else to itself."""

    def __init__(self, *, with_pools: bool = True) -> None:
        """Without pools nothing that is not namespaced is ever listed."""
        self.training_jobs = ObjectCache(uid_of)
        self.jobs = ObjectCache(labelled_uid)
        self.pods = ObjectCache(labelled_uid)
        self.services = ObjectCache(labelled_uid)
        self.node_pools = ObjectCache(uid_of)
        self.nodes = ObjectCache(uid_of)
        self.priority_classes = ObjectCache(uid_of)
        self.namespaces = ObjectCache(uid_of)
        self._caches = {
            TRAINING_JOBS: self.training_jobs,
            JOBS: self.jobs,
            PODS: self.pods,
            SERVICES: self.services,
            NODE_POOLS: self.node_pools,
            NODES: self.nodes,
            PRIORITY_CLASSES: self.priority_classes,
            NAMESPACES: self.namespaces,
        }
        self._listed = (*WATCHED, *WATCHED_FOR_POOLS) if with_pools else WATCHED

    def put(self, kind: ResourceKind, body: Manifest) -> bool:
        """Keep the body if it is news."""
        return self._caches[kind].put(body)

    def remove(self, kind: ResourceKind, body: Manifest) -> None:
        self._caches[kind].remove(uid_of(body))

    async def refresh(
        self, client: KubernetesClient, namespaces: Iterable[str], kinds: Iterable[ResourceKind] | None = None
    ) -> set[str]:
        """List everything anew, or `kinds` alone.

        Returns the uids of jobs of which something was found that no watch had told.
        """
        changed: set[str] = set()
        for kind in self._listed if kinds is None else kinds:
            for namespace in (tuple(namespaces) or (None,)) if kind.namespaced else (None,):
                changed |= await self._refresh(client, kind, namespace)
        return changed

    @property
    def listed(self) -> Iterable[ResourceKind]:
        """The kinds that are watched."""
        return self._listed

    async def _refresh(self, client: KubernetesClient, kind: ResourceKind, namespace: str | None) -> set[str]:
        listed = await client.list(kind, namespace)
        bodies = ({**item, "apiVersion": kind.api_version, "kind": kind.kind} for item in listed["items"])
        return self._caches[kind].replace(bodies, int(listed["metadata"]["resourceVersion"]), namespace)


def owner_uid(kind: ResourceKind, body: Manifest) -> str | None:
    """The uid of the MaskTrainingJob that an object concerns."""
    return uid_of(body) if kind is TRAINING_JOBS else labelled_uid(body)
