"""Executes a plan. Killed between any two of its writes, the next plan finds what was done and does the rest."""

import logging
from collections.abc import Callable

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.core.manifests.metadata import controller_uid
from masktrain_operator.core.types import Deletion, Manifest, Plan

from .caches import KnownObjects
from .client import BY_NAME, JOBS, KubernetesClient
from .work_queue import RetryAfter

logger = logging.getLogger(__name__)

ForeignJobSeen = Callable[[str, str], None]


class Applier:
    """Objects of others are never changed: creation does not overwrite, apply and delete are bound to a uid."""

    def __init__(self, client: KubernetesClient, known: KnownObjects, foreign_job_seen: ForeignJobSeen) -> None:
        """`foreign_job_seen(job_uid, name)` is told when somebody else's Job stands where ours should be created."""
        self._client = client
        self._known = known
        self._foreign_job_seen = foreign_job_seen

    async def apply(self, plan: Plan) -> None:
        """Everything but status and events. Raises RetryAfter(0) if the cluster differs from what was observed."""
        for manifest in plan.create:
            await self._create(manifest)
        for manifest in plan.apply:
            await self._apply(manifest)
        for deletion in plan.delete:
            await self._delete(deletion)

    async def _create(self, manifest: Manifest) -> None:
        try:
            self._remember(await self._client.create(manifest))
            logger.info("Created %s.", _described(manifest))
        except ConflictError:
            await self._adopt(manifest)

    async def _adopt(self, manifest: Manifest) -> None:
        """Take what stands there for the object we meant to create, if it is ours; a lost answer to a create is."""
        existing = await self._existing(manifest)
        if existing is None:
            raise RetryAfter(0)
        if controller_uid(existing) == controller_uid(manifest):
            self._remember(existing)
            return
        if manifest["kind"] == JOBS.kind:
            self._foreign_job_seen(controller_uid(manifest) or "", manifest["metadata"]["name"])
        raise RetryAfter(0)

    async def _apply(self, manifest: Manifest) -> None:
        existing = await self._existing(manifest)
        if existing is None:
            await self._create(manifest)
        elif controller_uid(existing) == controller_uid(manifest):
            bound = {**manifest, "metadata": {**manifest["metadata"], "uid": existing["metadata"]["uid"]}}
            self._remember(await self._client.apply(bound))
            logger.info("Updated %s.", _described(manifest))
        else:
            raise RetryAfter(0)

    async def _delete(self, deletion: Deletion) -> None:
        try:
            await self._client.delete(deletion)
            logger.info("Deleted %s %s/%s.", deletion.kind, deletion.namespace, deletion.name)
        except NotFoundError:
            kind = BY_NAME[deletion.api_version, deletion.kind]
            self._known.remove(kind, {"metadata": {"uid": deletion.uid}})
        except ConflictError:
            logger.info("%s %s/%s is another object by now.", deletion.kind, deletion.namespace, deletion.name)

    async def _existing(self, manifest: Manifest) -> Manifest | None:
        kind = BY_NAME[manifest["apiVersion"], manifest["kind"]]
        return await self._client.get(kind, manifest["metadata"]["namespace"], manifest["metadata"]["name"])

    def _remember(self, body: Manifest) -> None:
        self._known.put(BY_NAME[body["apiVersion"], body["kind"]], body)


def _described(manifest: Manifest) -> str:
    metadata = manifest["metadata"]
    return f"{manifest['kind']} {metadata['namespace']}/{metadata['name']}"
