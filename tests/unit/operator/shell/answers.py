"""A client whose answers a test writes down: for what follows from an error, which no real server gives on demand.

It imitates no API server: it keeps nothing, checks nothing, and knows what it was asked.
"""

import asyncio
import json
from collections import defaultdict
from collections.abc import Callable
from typing import Any, cast

from kubernetes.aio.client.exceptions import ApiException
from kubernetes.aio.dynamic.exceptions import api_exception

from masktrain_operator.core.types import Deletion, Manifest
from masktrain_operator.shell.client import ApiError, Kept, KubernetesClient, Listed, ResourceKind


def refusal(status: int, reason: str = "", message: str = "No.") -> ApiError:
    """As the API server words it."""
    error = ApiException(status=status, reason=reason)
    error.body = json.dumps({"reason": reason, "message": message})
    error.headers = {"Content-Type": "application/json"}
    return cast("ApiError", api_exception(error))  # type: ignore[no-untyped-call]


class Answers:
    """`errors`: by verb, raised in turn; then the answer is a success. `standing`: what each GET finds."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.errors: defaultdict[str, list[Exception]] = defaultdict(list)
        self.standing: Manifest | None = None
        self.listed: list[Manifest] = []
        self.gate: asyncio.Event | None = None
        """What a dry run waits for."""
        self.is_held = asyncio.Event()
        """Once one does."""
        self.statuses: list[Manifest] = []
        self._version = 100

    @property
    def client(self) -> KubernetesClient:
        return cast("KubernetesClient", self)

    async def get(self, kind: ResourceKind, _: str | None, name: str) -> Manifest | None:
        self._answer("get", kind.kind, name)
        return self.standing

    async def create(self, manifest: Manifest) -> Manifest:
        self._answer("create", manifest["kind"], manifest["metadata"]["name"])
        return self._stored(manifest)

    async def create_for_show(self, manifest: Manifest) -> Manifest:
        metadata = manifest["metadata"]
        self._answer("show", manifest["kind"], metadata.get("name", metadata.get("generateName")))
        if self.gate is not None:
            self.is_held.set()
            await self.gate.wait()
        return manifest

    async def list(
        self, kind: ResourceKind, namespace: str | None, keep: Callable[[Manifest], Kept | None]
    ) -> Listed[Kept]:
        self._answer("list", kind.kind, str(namespace))
        return Listed([kept for found in self.listed if (kept := keep(found)) is not None], 1)

    async def apply(self, manifest: Manifest) -> Manifest:
        self._answer("apply", manifest["kind"], manifest["metadata"]["name"])
        return self._stored(manifest)

    async def delete(self, deletion: Deletion) -> None:
        self._answer("delete", deletion.kind, deletion.name)

    async def merge_patch_status(self, kind: ResourceKind, _: str | None, name: str, patch: Manifest) -> Manifest:
        self._answer("status", kind.kind, name)
        self.statuses.append(patch["status"])
        return self._stored({"metadata": {"name": name, **patch["metadata"]}, "status": patch["status"]})

    def _answer(self, verb: str, kind: str, name: str) -> None:
        self.asked.append(f"{verb} {kind} {name}")
        if self.errors[verb]:
            raise self.errors[verb].pop(0)

    def _stored(self, manifest: Manifest) -> Manifest:
        self._version += 1
        metadata: dict[str, Any] = {"uid": f"{manifest['metadata']['name']}-uid", **manifest["metadata"]}
        return {**manifest, "metadata": {**metadata, "resourceVersion": str(self._version)}}
