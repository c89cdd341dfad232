"""Everything the operator knows about the cluster: one cache per watched kind, and how full lists correct them.

kopf's own index keeps an object for ever when its deletion falls into a gap of the watch (after `410 Gone` kopf lists
anew and reports no deletions), and lags behind the operator's own writes. These caches are corrected by full lists, and
are told about our own writes at once.
"""

import json
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from masktrain_operator.api import labels
from masktrain_operator.core.manifests.job import CONTAINER
from masktrain_operator.core.manifests.metadata import controller_uid, labelled_uid, own_jobs, own_pods
from masktrain_operator.core.pools.nodes import GPU_RESOURCES, gpus_requested
from masktrain_operator.core.types import Manifest

from .client import (
    JOBS,
    NAMESPACES,
    NETWORK_POLICIES,
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

Kept = Callable[[Manifest], Manifest]
# Only lists and events of the last minutes can bring a dead object back; a bound, because operators live for months.
REMEMBERED_DELETIONS = 20_000
CLAIMED = (JOBS, PODS, SERVICES, NETWORK_POLICIES)
"""Kinds of which whoever may create them says by a label for which job they are."""


class ObjectCache:
    """Bodies by uid, and by the uid of the MaskTrainingJob they belong to.

    Resource versions are compared as numbers, which Kubernetes guarantees for its own kinds and for custom resources.
    """

    def __init__(self, owner_of: Callable[[Manifest], str | None], kept: Kept = lambda body: body) -> None:
        """`owner_of` names the MaskTrainingJob's uid of a body, `kept` the part of it that is ever read."""
        self._owner_of = owner_of
        self._kept = kept
        self._bodies: dict[str, Manifest] = {}
        self._by_owner: defaultdict[str, dict[str, Manifest]] = defaultdict(dict)
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self.changes = 0
        """How often a body came, went or was replaced: what was derived from the cache holds as long as this stays."""
        self._changed: dict[str, int] = {}

    def slim(self, body: Manifest) -> Manifest:
        """What is ever read of it; of a slim body, the same again."""
        return self._kept(_without_managed_fields(body))

    def put(self, body: Manifest) -> bool:
        """Keep the body unless a newer one is known or the object is gone. Returns whether it was news."""
        uid = uid_of(body)
        known = self._bodies.get(uid)
        # Equal is what a watch tells of our own write, which is here already.
        if uid in self._deleted or (known is not None and version_of(known) >= version_of(body)):
            return False
        slim = self.slim(body)
        owner = self._owner_of(slim) or ""
        # Labels can be edited: the old owner must not keep the object.
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
        # What is newer than the list was made after it: that it is not listed says nothing.
        for body in [body for body in self if uid_of(body) not in listed and version_of(body) <= version]:
            if namespace in (None, body["metadata"].get("namespace")):
                changed.add(self._owner_of(body))
                self.remove(uid_of(body))
        return {owner for owner in changed if owner}

    def get(self, uid: str) -> Manifest | None:
        return self._bodies.get(uid)

    def owned_by(self, owner_uid: str) -> tuple[Manifest, ...]:
        """In the order of their names."""
        # Not in the order of arrival: the same cluster has to give the same plan.
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
    # Nobody here reads them, and they are much of an object; thousands of pods are kept.
    metadata = {key: value for key, value in body["metadata"].items() if key != "managedFields"}
    return {**body, "metadata": metadata}


# What is read of a body. Whoever may write an object decides how large it is; the API server takes megabytes.

OUR_LABELS = (labels.JOB_LABEL, labels.JOB_UID_LABEL, labels.ATTEMPT_LABEL, labels.NODE_POOL_LABEL)
IDENTITY = (
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
NODE_ANNOTATIONS = (
    labels.ADDED_ANNOTATION,
    labels.IDLE_SINCE_ANNOTATION,
    labels.REMOVAL_ANNOTATION,
    labels.DOOMED_ANNOTATION,
    labels.KEEP_ANNOTATION,
    labels.AUTOSCALER_KEEP_ANNOTATION,
    labels.OKE_POOL_ANNOTATION,
)
CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
MOST_ITEMS = 64
"""Conditions, containers and finalizers; Kubernetes itself writes a handful."""
LONGEST_TEXT = 4096


def _some(section: Manifest | None, *keys: str) -> Manifest:
    """Those fields, with texts cut that nobody reads to their end."""
    found = {key: section[key] for key in keys if key in section} if section else {}
    return {key: value[:LONGEST_TEXT] if isinstance(value, str) else value for key, value in found.items()}


def _each(items: Iterable[Manifest] | None, *keys: str) -> list[Manifest]:
    return [_some(item, *keys) for item in islice(items or (), MOST_ITEMS)]


def _asking(spec: Manifest) -> Manifest:
    """One container that asks for as many GPUs as all of the pod: of both there may be thousands."""
    gpus = gpus_requested(spec)
    return {"containers": [{"resources": {"limits": {GPU_RESOURCES[0]: gpus}}}]} if gpus else {}


def _metadata(body: Manifest, label_keys: Iterable[str], annotation_keys: Iterable[str] = ()) -> Manifest:
    metadata: Manifest = body["metadata"]
    controllers = [owner for owner in metadata.get("ownerReferences") or () if owner.get("controller")]
    parts = {
        "labels": _some(metadata.get("labels"), *label_keys),
        "annotations": _some(metadata.get("annotations"), *annotation_keys),
        "ownerReferences": _each(controllers, "apiVersion", "kind", "name", "uid", "controller", "blockOwnerDeletion"),
        "finalizers": list(islice(metadata.get("finalizers") or (), MOST_ITEMS)),
    }
    return _some(metadata, *IDENTITY) | {key: part for key, part in parts.items() if part}


def _read_of_job(body: Manifest) -> Manifest:
    status = {"conditions": _each((body.get("status") or {}).get("conditions"), *CONDITION)}
    return _some(body, "apiVersion", "kind") | {"metadata": _metadata(body, OUR_LABELS), "status": status}


def _read_of_pod(body: Manifest) -> Manifest:
    spec, status = body.get("spec") or {}, body.get("status") or {}
    trainers = [container for container in status.get("containerStatuses") or () if container.get("name") == CONTAINER]
    said = {
        "conditions": _each(status.get("conditions"), *CONDITION),
        "containerStatuses": _each(trainers, "name", "state"),
    }
    claims: Manifest = {"resourceClaims": [{}]} if spec.get("resourceClaims") else {}
    index = (labels.COMPLETION_INDEX,)
    return _some(body, "apiVersion", "kind") | {
        "metadata": _metadata(body, (*OUR_LABELS, *index), index),
        "spec": _some(spec, "nodeName", "terminationGracePeriodSeconds") | _asking(spec) | claims,
        "status": _some(status, "phase", "reason", "message", "podIP") | said,
    }


def _read_of_service(body: Manifest) -> Manifest:
    spec = _some(body.get("spec"), "clusterIP", "publishNotReadyAddresses", "selector", "ports")
    return _some(body, "apiVersion", "kind") | {"metadata": _metadata(body, OUR_LABELS), "spec": spec}


def _read_of_network_policy(body: Manifest) -> Manifest:
    spec = _some(body.get("spec"), "podSelector", "policyTypes", "ingress", "egress")
    return _some(body, "apiVersion", "kind") | {"metadata": _metadata(body, OUR_LABELS), "spec": spec}


def _read_of_node(body: Manifest) -> Manifest:
    """Labels whole: which of them count is said in specs."""
    metadata, status = body["metadata"], body.get("status") or {}
    said = _some(status, "allocatable", "capacity") | {"conditions": _each(status.get("conditions"), *CONDITION)}
    return _some(body, "apiVersion", "kind") | {
        "metadata": _metadata(body, metadata.get("labels") or (), NODE_ANNOTATIONS),
        "spec": _some(body.get("spec"), "providerID", "unschedulable", "taints"),
        "status": said,
    }


def _read_of_namespace(body: Manifest) -> Manifest:
    """Labels whole: a pool's selector may name any."""
    return _some(body, "apiVersion", "kind") | {"metadata": _metadata(body, body["metadata"].get("labels") or ())}


def _read_of_pool(body: Manifest) -> Manifest:
    asked = (labels.MAINTENANCE_ANNOTATION, labels.ABANDON_ANNOTATION)
    return _some(body, "apiVersion", "kind", "spec", "status") | {"metadata": _metadata(body, (), asked)}


IS_CUT = "isCut"
LARGE_SPEC = 8 * 1024
"""Characters as JSON. Its bounds let a spec have a megabyte, and its namespace thousands of them."""
OF_GANG = ("nodes", "gpusPerNode", "gpuResource", "nodePoolRef", "nodeSelector", "priorityClassName")


def _read_of_training_job(body: Manifest) -> Manifest:
    """A large spec only as far as admission goes by it; who looks at its job reads it anew."""
    kept = _some(body, "apiVersion", "kind", "spec", "status", IS_CUT) | {"metadata": _metadata(body, ())}
    spec = body.get("spec") or {}
    if not kept.get(IS_CUT) and len(json.dumps(spec)) <= LARGE_SPEC:
        return kept
    return {**kept, "spec": {"compute": _some(spec.get("compute"), *OF_GANG)}, IS_CUT: True}


class KnownObjects:
    """The caches, and what in them is whose.

    Watches select by a label that anybody may set. So nothing is kept that names no job of its own namespace, and what
    is a job's follows from controllers, uid by uid: the MaskTrainingJob's batch Jobs, and their pods.
    """

    def __init__(self, *, with_pools: bool = True, with_network_policies: bool = False) -> None:
        """Without pools nothing that is not namespaced is ever listed."""
        self.training_jobs = ObjectCache(uid_of, _read_of_training_job)
        self.jobs = ObjectCache(labelled_uid, _read_of_job)
        self.pods = ObjectCache(labelled_uid, _read_of_pod)
        self.services = ObjectCache(labelled_uid, _read_of_service)
        self.network_policies = ObjectCache(labelled_uid, _read_of_network_policy)
        self.node_pools = ObjectCache(uid_of, _read_of_pool)
        self.nodes = ObjectCache(uid_of, _read_of_node)
        self.priority_classes = ObjectCache(uid_of)
        self.namespaces = ObjectCache(uid_of, _read_of_namespace)
        self._caches = {
            TRAINING_JOBS: self.training_jobs,
            JOBS: self.jobs,
            PODS: self.pods,
            SERVICES: self.services,
            NETWORK_POLICIES: self.network_policies,
            NODE_POOLS: self.node_pools,
            NODES: self.nodes,
            PRIORITY_CLASSES: self.priority_classes,
            NAMESPACES: self.namespaces,
        }
        of_jobs = (*WATCHED, NETWORK_POLICIES) if with_network_policies else WATCHED
        self._listed = (*of_jobs, *WATCHED_FOR_POOLS) if with_pools else of_jobs

    def put(self, kind: ResourceKind, body: Manifest) -> bool:
        """Keep the body if it is news, and of a job that exists."""
        return self._concerns_us(kind, body) and self._caches[kind].put(self._with_controller(kind, body))

    def remove(self, kind: ResourceKind, body: Manifest) -> bool:
        """Returns whether the body was, or may have been, an object of ours."""
        if not self._concerns_us(kind, body):
            return False
        self._caches[kind].remove(uid_of(body))
        return True

    def jobs_of(self, training_job: Manifest) -> tuple[Manifest, ...]:
        """Its own batch Jobs, in the order of their names."""
        return own_jobs(training_job, self.jobs.owned_by(uid_of(training_job)))

    def pods_of(self, training_job: Manifest) -> tuple[Manifest, ...]:
        """The pods of its own batch Jobs, in the order of their names."""
        return own_pods(training_job, self.jobs_of(training_job), self.pods.owned_by(uid_of(training_job)))

    def job_of_pod(self, pod_uid: str) -> str | None:
        """The uid of the MaskTrainingJob that has the pod, None for a pod of somebody else."""
        pod = self.pods.get(pod_uid)
        claimed = self.training_jobs.get(labelled_uid(pod) or "") if pod is not None else None
        if pod is None or claimed is None:
            return None
        return uid_of(claimed) if own_pods(claimed, self.jobs_of(claimed), (pod,)) else None

    def claimed_by(self, training_job: Manifest, kind: ResourceKind) -> tuple[Manifest, ...]:
        """Objects of its namespace that say they were made for it."""
        namespace = training_job["metadata"]["namespace"]
        claimed = self._caches[kind].owned_by(uid_of(training_job))
        return tuple(body for body in claimed if body["metadata"]["namespace"] == namespace)

    def _concerns_us(self, kind: ResourceKind, body: Manifest) -> bool:
        if kind not in CLAIMED or self._caches[kind].get(uid_of(body)) is not None:
            return True
        claimed = self.training_jobs.get(labelled_uid(body) or "")
        return claimed is not None and claimed["metadata"]["namespace"] == body["metadata"].get("namespace")

    def _with_controller(self, kind: ResourceKind, body: Manifest) -> Manifest:
        """Jobs and pods stay whose they were without owner reference, which `kubectl delete --cascade=orphan` takes."""
        known = self._caches[kind].get(uid_of(body)) if kind in (JOBS, PODS) else None
        if known is None or controller_uid(body) is not None:
            return body
        owners = known["metadata"].get("ownerReferences", [])
        return {**body, "metadata": {**body["metadata"], "ownerReferences": owners}}

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
        cache = self._caches[kind]

        def kept(item: Manifest) -> Manifest | None:
            # The items of a list come without both.
            body = {**item, "apiVersion": kind.api_version, "kind": kind.kind}
            return cache.slim(self._with_controller(kind, body)) if self._concerns_us(kind, body) else None

        listed = await client.list(kind, namespace, kept)
        return cache.replace(listed.items, listed.version, namespace)


def owner_uid(kind: ResourceKind, body: Manifest) -> str | None:
    """The uid of the MaskTrainingJob that an object concerns."""
    return uid_of(body) if kind is TRAINING_JOBS else labelled_uid(body)
