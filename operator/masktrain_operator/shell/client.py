"""The connection to the API server: the kinds it is asked for, credentials, retries, and plain dictionaries in and out.

The dynamic client is given the few kinds it needs instead of discovering all of them, so that it starts with no
requests and keeps no cache file.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

import aiohttp
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration
from kubernetes.aio.config import ConfigException
from kubernetes.aio.dynamic import DynamicClient, Resource
from kubernetes.aio.dynamic.exceptions import DynamicApiError, GoneError, NotFoundError
from kubernetes.aio.utils import retry

from masktrain_operator.api import labels
from masktrain_operator.api.labels import CRD_NAME, FIELD_MANAGER, POOL_CRD_NAME
from masktrain_operator.core.types import Deletion, Manifest

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class ResourceKind:
    """One kind. `selector` limits what is listed and watched to objects of ours."""

    group: str
    version: str
    kind: str
    plural: str
    selector: str = ""
    subresources: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


OWNED: Final = labels.JOB_UID_LABEL
TRAINING_JOBS: Final = ResourceKind(labels.GROUP, labels.VERSION, labels.KIND, labels.PLURAL, subresources=("status",))
JOBS: Final = ResourceKind("batch", "v1", "Job", "jobs", OWNED)
PODS: Final = ResourceKind("", "v1", "Pod", "pods", OWNED)
SERVICES: Final = ResourceKind("", "v1", "Service", "services", OWNED)
NETWORK_POLICIES: Final = ResourceKind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", OWNED)
EVENTS: Final = ResourceKind("", "v1", "Event", "events")

LEASES: Final = ResourceKind("coordination.k8s.io", "v1", "Lease", "leases")
SECRETS: Final = ResourceKind("", "v1", "Secret", "secrets")
NODE_POOLS: Final = ResourceKind(
    labels.GROUP, labels.VERSION, labels.POOL_KIND, labels.POOL_PLURAL, subresources=("status",), namespaced=False
)
NODES: Final = ResourceKind("", "v1", "Node", "nodes", namespaced=False)
PRIORITY_CLASSES: Final = ResourceKind("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", namespaced=False)
NAMESPACES: Final = ResourceKind("", "v1", "Namespace", "namespaces", namespaced=False)
RESOURCE_QUOTAS: Final = ResourceKind("", "v1", "ResourceQuota", "resourcequotas")
DAEMON_SETS: Final = ResourceKind("apps", "v1", "DaemonSet", "daemonsets")

WATCHED: Final = (TRAINING_JOBS, JOBS, PODS, SERVICES)
WATCHED_FOR_POOLS: Final = (NODE_POOLS, NODES, PRIORITY_CLASSES, NAMESPACES)
"""Cluster-wide; only an operator that may manage node pools may read them."""
BY_NAME: Final = {
    (kind.api_version, kind.kind): kind
    for kind in (
        *(*WATCHED, *WATCHED_FOR_POOLS),
        *(NETWORK_POLICIES, EVENTS, LEASES, SECRETS, RESOURCE_QUOTAS, DAEMON_SETS),
    )
}


REQUEST_TIMEOUT_SECONDS = 30
PAGE_ITEMS = 20
"""Of 3 MB each at most, as JSON: 60 MB at once, and as text again. With 100 a thousand small ones are read in 0.2 s
instead of 0.4 s, and large ones take the operator to 264 MB instead of 168 MB."""
# Above the 16 workers of jobs and 4 of pools, so that the Lease and the resync never wait for one of them.
CONNECTIONS = 32
MERGE_PATCH = "application/merge-patch+json"
LIST_TRIES = 4
RETRIES = retry.Backoff(steps=4, duration=0.2, factor=2.0, jitter=0.1)  # type: ignore[attr-defined]
"""For answers 429 and 5xx that name a Retry-After: the server did not act on the request."""

ApiError = DynamicApiError
SERVICE_ACCOUNT_TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 (a path)


@dataclass(frozen=True)
class Listed(Generic[Kept]):
    """What was kept of a list, and the resource version that it shows."""

    items: Sequence[Kept]
    version: int


class _Request(Protocol):
    def __call__(self, *arguments: Any, **options: Any) -> Awaitable[Any]: ...


async def connect() -> ApiClient:
    """The cluster that this pod runs in, else the one of the current kubeconfig context."""
    configuration = Configuration()
    if os.environ.get("KUBECONFIG") or "KUBERNETES_SERVICE_HOST" not in os.environ:
        await config.load_kube_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    else:
        config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]
    configuration.connection_pool_maxsize = CONNECTIONS
    return ApiClient(configuration)


class KubernetesClient:
    """Reads and writes of single objects as dictionaries; raises `ApiError` on an answer that is not 2xx."""

    def __init__(self, api_client: ApiClient) -> None:
        dynamic = DynamicClient(api_client)  # type: ignore[no-untyped-call]
        self._resources = {kind: _resource(dynamic, kind) for kind in BY_NAME.values()}

    async def get(self, kind: ResourceKind, namespace: str | None, name: str) -> Manifest | None:
        """The object, or None if there is none of that name."""
        try:
            return await self._call(self._resources[kind].get, name=name, namespace=namespace)
        except NotFoundError:
            return None

    async def list(
        self, kind: ResourceKind, namespace: str | None, keep: Callable[[Manifest], Kept | None]
    ) -> Listed[Kept]:
        """What `keep` makes of each object, without those of which it makes None; of all namespaces for None."""
        return await self._list(kind, keep, namespace=namespace, label_selector=kind.selector or None)

    async def first(
        self, kind: ResourceKind, namespace: str | None, keep: Callable[[Manifest], Kept | None]
    ) -> Kept | None:
        """The same of the first object that is kept; what follows it is not asked for."""
        options = {"namespace": namespace, "label_selector": kind.selector or None}
        return next(iter((await self._list(kind, keep, most=1, **options)).items), None)

    async def list_pods_on(self, node: str, keep: Callable[[Manifest], Kept | None]) -> Sequence[Kept]:
        """Of everybody's unfinished pods that are bound to the node, as the API server knows them at this moment."""
        return (await self._list(PODS, keep, field_selector=_unfinished_on(node))).items

    async def first_pod_on(self, node: str, keep: Callable[[Manifest], Kept | None]) -> Kept | None:
        """The same of the first pod that is kept; what follows it is not asked for."""
        return next(iter((await self._list(PODS, keep, most=1, field_selector=_unfinished_on(node))).items), None)

    async def _list(
        self, kind: ResourceKind, keep: Callable[[Manifest], Kept | None], *, most: int | None = None, **options: Any
    ) -> Listed[Kept]:
        """All of one resource version. Raises ApiError 410 if none lives for as long as the list takes to be read."""
        for _ in range(LIST_TRIES - 1):
            # The token of the next page dies with its resource version, which the API server compacts every 5 minutes.
            # Going on with another version would take an object that was deleted and made anew in between for missing.
            with suppress(GoneError):
                return await self._list_once(kind, keep, most, options)
        return await self._list_once(kind, keep, most, options)

    async def _list_once(
        self, kind: ResourceKind, keep: Callable[[Manifest], Kept | None], most: int | None, options: Mapping[str, Any]
    ) -> Listed[Kept]:
        kept, token = list[Kept](), None
        while True:
            # Whoever may write objects decides how large they are: a whole list may not fit into memory.
            text = await self._text(self._resources[kind].get, limit=PAGE_ITEMS, _continue=token, **options)
            metadata = read_page(text, keep, kept)
            token = metadata.get("continue")
            if not token or (most is not None and len(kept) >= most):
                return Listed(kept, int(metadata["resourceVersion"]))
            # It must not stand beside the next one.
            del text

    async def create(self, manifest: Manifest) -> Manifest:
        return await self._call(self._of(manifest).create, body=manifest, field_manager=FIELD_MANAGER)

    async def create_for_show(self, manifest: Manifest) -> Manifest:
        """What would be created, after all of the API server's admission; nothing is. Raises ApiError if it refuses."""
        return await self._call(self._of(manifest).create, body=manifest, field_manager=FIELD_MANAGER, dry_run="All")

    async def apply(self, manifest: Manifest) -> Manifest:
        """Server-side apply, taking over fields that others set; with `metadata.uid` only on the very object."""
        options = {"field_manager": FIELD_MANAGER, "force_conflicts": "true"}
        return await self._call(self._of(manifest).server_side_apply, body=manifest, **options)

    async def merge_patch(self, kind: ResourceKind, namespace: str | None, name: str, patch: Manifest) -> Manifest:
        """A JSON merge patch of the object itself."""
        return await self._merge_patch(self._resources[kind], namespace, name, patch)

    async def merge_patch_status(
        self, kind: ResourceKind, namespace: str | None, name: str, patch: Manifest
    ) -> Manifest:
        """A JSON merge patch of the object's status subresource."""
        return await self._merge_patch(self._resources[kind].status, namespace, name, patch)

    async def delete(self, deletion: Deletion) -> None:
        """Delete that very object, its dependents in the background."""
        # Background: with Foreground the object would hold a finalizer until its pods are gone.
        body: dict[str, Any] = {"propagationPolicy": "Background", "preconditions": {"uid": deletion.uid}}
        if deletion.grace_seconds is not None:
            body["gracePeriodSeconds"] = deletion.grace_seconds
        resource = self._resources[BY_NAME[deletion.api_version, deletion.kind]]
        await self._call(resource.delete, name=deletion.name, namespace=deletion.namespace, body=body)

    def _of(self, manifest: Manifest) -> Resource:
        return self._resources[BY_NAME[manifest["apiVersion"], manifest["kind"]]]

    async def _merge_patch(self, resource: Resource, namespace: str | None, name: str, patch: Manifest) -> Manifest:
        options = {"content_type": MERGE_PATCH, "field_manager": FIELD_MANAGER}
        return await self._call(resource.patch, name=name, namespace=namespace, body=patch, **options)

    async def _call(self, request: _Request, **options: Any) -> Manifest:
        return dict(await _retried(request, serializer=_plain, **options))

    async def _text(self, request: _Request, **options: Any) -> str:
        """The answer, each of its bytes as one character."""

        async def read(**options: Any) -> bytes:
            response = await request(serialize=False, **options)
            body: bytes = await response.read()
            return body

        # One character of another alphabet in UTF-8 would make each character of the whole text four bytes wide.
        body: bytes = await _retried(read, **options)
        return body.decode("latin-1")


async def _retried(request: _Request, **options: Any) -> Any:
    retryable = retry.is_retry_after_response  # type: ignore[attr-defined]
    return await retry.on_retry_after_error(
        RETRIES, retryable, lambda: request(_request_timeout=REQUEST_TIMEOUT_SECONDS, **options)
    )


_DECODER: Final = json.JSONDecoder()
_BETWEEN_VALUES: Final = re.compile(r"[\s,:]*")


def read_page(text: str, keep: Callable[[Manifest], Kept | None], kept: list[Kept]) -> Manifest:
    """The metadata of a part of a list; what `keep` makes of its items is added to `kept`.

    One object after the other: as dictionaries a megabyte of JSON may take twenty.
    """
    page: Manifest = {}
    at = _next(text, text.index("{") + 1)
    while text[at] != "}":
        key, at = _value(text, at)
        at = _next(text, at)
        if key == "items" and text[at] == "[":
            at = _next(text, at + 1)
            while text[at] != "]":
                item, at = _value(text, at)
                at = _next(text, at)
                if (found := keep(item)) is not None:
                    kept.append(found)
                del item
            at += 1
        else:
            page[key], at = _value(text, at)
        at = _next(text, at)
    metadata: Manifest = page["metadata"]
    return metadata


def _value(text: str, start: int) -> tuple[Any, int]:
    value, end = _DECODER.raw_decode(text, start)
    if text.isascii() or (written := text[start:end]).isascii():
        return value, end
    return json.loads(written.encode("latin-1")), end


def _next(text: str, start: int) -> int:
    """Where the next value begins, or the list or object ends."""
    found = _BETWEEN_VALUES.match(text, start)
    return start if found is None else found.end()


def api_message(error: ApiError) -> str:
    """The API server's own sentence."""
    return str(error.summary())  # type: ignore[no-untyped-call]


def is_too_large(error: ApiError) -> bool:
    """Whether the object would have more than the 1.5 MB that etcd takes."""
    return "too large" in api_message(error)


def api_reason(error: ApiError) -> str:
    """The API server's own word, like Forbidden or AlreadyExists; empty if the answer came from something else."""
    try:
        return str(json.loads(error.body or "").get("reason", ""))
    except (AttributeError, ValueError):
        return ""


def _resource(client: DynamicClient, kind: ResourceKind) -> Resource:
    subresources = {
        name: {"kind": kind.kind, "name": f"{kind.plural}/{name}", "namespaced": kind.namespaced}
        for name in kind.subresources
    }
    return Resource(  # type: ignore[no-untyped-call]
        prefix="apis" if kind.group else "api",
        group=kind.group,
        api_version=kind.version,
        kind=kind.kind,
        namespaced=kind.namespaced,
        name=kind.plural,
        client=client,
        subresources=subresources,
    )


def _unfinished_on(node: str) -> str:
    return f"spec.nodeName={node},status.phase!=Failed,status.phase!=Succeeded"


def _plain(_: object, answer: Mapping[str, Any]) -> Mapping[str, Any]:
    return answer


CONNECTION_ERRORS: Final = (ApiError, ConfigException, aiohttp.ClientError, TimeoutError, OSError)


def refusal_sentence(error: Exception) -> str:
    match error:
        case NotFoundError():
            return f"The cluster lacks CustomResourceDefinition {CRD_NAME} or {POOL_CRD_NAME}; install the chart's."
        case ApiError():
            return f"The API server refused: {api_message(error)}"
        case _:
            return f"The API server cannot be reached: {str(error) or type(error).__name__}"
