"""Everything the operator knows about the cluster: one cache per watched kind, and how lists correct them."""

from collections.abc import Iterable

from masktrain_operator.core.types import Manifest

from .client import KubernetesClient
from .object_cache import ObjectCache, uid_of
from .ownership import labelled_uid
from .resources import (
    JOBS,
    NODE_POOLS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SERVICES,
    TRAINING_JOBS,
    WATCHED,
    WATCHED_FOR_POOLS,
    ResourceKind,
)


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
        self._caches = {
            TRAINING_JOBS: self.training_jobs,
            JOBS: self.jobs,
            PODS: self.pods,
            SERVICES: self.services,
            NODE_POOLS: self.node_pools,
            NODES: self.nodes,
            PRIORITY_CLASSES: self.priority_classes,
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
