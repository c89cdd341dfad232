"""Executes a plan. Killed between any two of its writes, the next plan finds what was done and does the rest.

A write that the API server does not take is a result, not an error: whatever else is to be done and to be said about
the job goes on.
"""

import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.core.deadlines import is_held, refused
from masktrain_operator.core.manifests.metadata import controller_uid
from masktrain_operator.core.types import Deletion, Manifest, Plan, Refusal, WriteKey, write_key

from .caches import KnownObjects
from .client import BY_NAME, JOBS, ApiError, KubernetesClient, api_message, api_reason
from .work_queue import RetryAfter

logger = logging.getLogger(__name__)

ForeignJobSeen = Callable[[str, str], None]


class Applier:
    """Objects of others are never changed: creation does not overwrite, apply and delete are bound to a uid."""

    def __init__(
        self,
        client: KubernetesClient,
        known: KnownObjects,
        foreign_job_seen: ForeignJobSeen,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`foreign_job_seen(job_uid, name)` is told when somebody else's Job stands where ours should be created."""
        self._client = client
        self._known = known
        self._foreign_job_seen = foreign_job_seen
        self._now = now
        # In memory alone: an operator that starts anew tries each write once, and learns the same.
        self._refusals: defaultdict[str, dict[WriteKey, Refusal]] = defaultdict(dict)

    async def apply(self, job_uid: str, plan: Plan) -> bool:
        """Everything but status and events. Returns whether all of it was taken; `refusals` tells what was not.

        Raises RetryAfter(0) if the cluster differs from what was observed.
        """
        self._forget_unwanted(job_uid, plan)
        # A list first: all() over a generator would skip the writes after the first one that is refused.
        outcomes = [await self._attempt(job_uid, key, write) for key, write in self._writes(plan)]
        return all(outcomes)

    def refusals(self, job_uid: str) -> tuple[Refusal, ...]:
        """Of the job's writes, those that were refused when they were last tried."""
        return tuple(self._refusals.get(job_uid, {}).values())

    def forget(self, job_uid: str) -> None:
        self._refusals.pop(job_uid, None)

    def _writes(self, plan: Plan) -> Iterator[tuple[WriteKey, Awaitable[None]]]:
        for manifest in plan.create:
            yield write_key("create", manifest), self._create(manifest)
        for manifest in plan.apply:
            yield write_key("apply", manifest), self._apply(manifest)
        for deletion in plan.delete:
            yield ("delete", deletion.kind, deletion.name), self._delete(deletion)

    async def _attempt(self, job_uid: str, key: WriteKey, write: Awaitable[None]) -> bool:
        """Quotas, policies, broken webhooks and missing rights: each ends that one write and nothing else."""
        try:
            await write
        except ApiError as error:
            refusal = refused(
                key,
                reason=api_reason(error),
                message=api_message(error),
                before=self._refusals[job_uid].get(key),
                now=self._now(),
                is_overload=error.status == HTTPStatus.TOO_MANY_REQUESTS
                or error.status >= HTTPStatus.INTERNAL_SERVER_ERROR,
            )
            self._refusals[job_uid][key] = refusal
            logger.warning("Job %s: %s Again at %s.", job_uid, refusal.sentence, refusal.retry_time)
            return False
        self._refusals[job_uid].pop(key, None)
        return True

    def _forget_unwanted(self, job_uid: str, plan: Plan) -> None:
        """A write whose time has come and that the plan does without."""
        now, wanted = self._now(), plan.writes
        for key, refusal in list(self._refusals[job_uid].items()):
            if not is_held(refusal, now) and key not in wanted:
                del self._refusals[job_uid][key]

    async def _create(self, manifest: Manifest) -> None:
        try:
            self._remember(await self._client.create(manifest))
            logger.info("Created %s.", _described(manifest))
        except ConflictError as conflict:
            await self._adopt(manifest, conflict)

    async def _adopt(self, manifest: Manifest, conflict: ConflictError) -> None:
        """Take what stands there for the object we meant to create, if it is ours; a lost answer to a create is."""
        existing = await self._existing(manifest)
        if existing is None:
            # Nothing stands there: two writers met at a ResourceQuota, or the object went in between. Trying at once,
            # as often as that happens, would be a hot loop.
            raise conflict
        if controller_uid(existing) == controller_uid(manifest):
            self._remember(existing)
            return
        # A Job that is not in the caches, which hold ours only: without a note the next plan would create it again.
        if manifest["kind"] == JOBS.kind:
            self._foreign_job_seen(controller_uid(manifest) or "", manifest["metadata"]["name"])
        raise RetryAfter(0)

    async def _apply(self, manifest: Manifest) -> None:
        # Asked of the API server: a forced apply would take over an object that is somebody else's by now.
        existing = await self._existing(manifest)
        if existing is None:
            await self._create(manifest)
        elif controller_uid(existing) == controller_uid(manifest):
            # With its uid an apply cannot create anew what was deleted in the meantime.
            bound = {**manifest, "metadata": {**manifest["metadata"], "uid": existing["metadata"]["uid"]}}
            self._remember(await self._client.apply(bound))
            logger.info("Updated %s.", _described(manifest))
        else:
            raise RetryAfter(0)

    async def _delete(self, deletion: Deletion) -> None:
        try:
            await self._client.delete(deletion)
            logger.info("Deleted %s %s/%s.", deletion.kind, deletion.namespace, deletion.name)
        # The watch may have missed the deletion: a cache that still shows the object would have it deleted for ever.
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
