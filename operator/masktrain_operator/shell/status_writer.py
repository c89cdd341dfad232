"""Writes the status of one kind of object: once per change, on the object that the plan was made from."""

from collections.abc import Callable

from kubernetes.aio.dynamic.exceptions import ConflictError, NotFoundError

from masktrain_operator.core.types import Manifest

from .client import KubernetesClient
from .known_objects import KnownObjects
from .merge_patch import merge_patch
from .resources import TRAINING_JOBS, ResourceKind
from .work_queue import RetryAfter
from .write_rate import WriteRate

PROGRESS_FIELDS = frozenset({"progress"})
"""Parts of the status that may be late; a change of anything else is written at once."""


class StatusWriter:
    """The cap on progress writes holds over all jobs."""

    def __init__(
        self,
        client: KubernetesClient,
        known: KnownObjects,
        rate: WriteRate,
        clock: Callable[[], float],
        kind: ResourceKind = TRAINING_JOBS,
    ) -> None:
        self._kind = kind
        self._client = client
        self._known = known
        self._rate = rate
        self._clock = clock

    async def write(self, body: Manifest, status: Manifest) -> bool:
        """Make `status` the whole status. Returns whether it was different.

        Raises RetryAfter if progress has to wait for its turn, or if the object was changed in the meantime.
        """
        patch = merge_patch(body.get("status", {}), status)
        if not patch:
            return False
        self._wait_for_turn(body, patch)
        await self._patch(body, patch)
        return True

    def forget(self, job_uid: str) -> None:
        self._rate.forget(job_uid)

    def _wait_for_turn(self, body: Manifest, patch: Manifest) -> None:
        if patch.keys() <= PROGRESS_FIELDS:
            seconds = self._rate.wait_seconds(body["metadata"]["uid"], self._clock())
            if seconds > 0:
                raise RetryAfter(seconds)

    async def _patch(self, body: Manifest, patch: Manifest) -> None:
        metadata = body["metadata"]
        guard = {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}
        change = {"metadata": guard, "status": patch}
        try:
            written = await self._client.merge_patch_status(
                self._kind, metadata.get("namespace"), metadata["name"], change
            )
        except (ConflictError, NotFoundError):
            await self._read_again(body)
            raise RetryAfter(0) from None
        self._known.put(self._kind, written)

    async def _read_again(self, body: Manifest) -> None:
        metadata = body["metadata"]
        newest = await self._client.get(self._kind, metadata.get("namespace"), metadata["name"])
        if newest is None or newest["metadata"]["uid"] != metadata["uid"]:
            self._known.remove(self._kind, body)
        else:
            self._known.put(self._kind, newest)
