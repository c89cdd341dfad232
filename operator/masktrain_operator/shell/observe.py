"""Gathers what the plan of one job is made from."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace

from masktrain_operator.core.attempts import rank_zero_pod
from masktrain_operator.core.gangs import has_ended
from masktrain_operator.core.jobs import is_over
from masktrain_operator.core.manifests.metadata import controller_uid
from masktrain_operator.core.pods import node_name
from masktrain_operator.core.types import Manifest, Observed, Refusal

from .caches import IS_CUT, KnownObjects, uid_of
from .client import (
    JOBS,
    NETWORK_POLICIES,
    SERVICES,
    TRAINING_JOBS,
    KubernetesClient,
    ResourceKind,
)
from .pools.gang_check import GangCheck
from .pools.pool_cache import PoolCache
from .progress import ProgressReader
from .work_queue import RetryAfter


class Observer:
    """Reads the caches; asks the API server only for what no watch of ours shows: objects of others."""

    def __init__(
        self,
        known: KnownObjects,
        client: KubernetesClient,
        progress: ProgressReader,
        pools: PoolCache,
        check: GangCheck | None = None,
    ) -> None:
        """Without a `check` gangs get nodes unasked, if admission lets them."""
        self._check = check
        self._pools = pools
        self._known = known
        self._client = client
        self._progress = progress
        self._foreign_jobs: defaultdict[str, set[str]] = defaultdict(set)

    async def whole(self, training_job: Manifest) -> Manifest:
        """The resource with all of its spec. Raises RetryAfter if it is not there any more."""
        if IS_CUT not in training_job:
            return training_job
        metadata = training_job["metadata"]
        read = await self._client.get(TRAINING_JOBS, metadata["namespace"], metadata["name"])
        if read is None or uid_of(read) != metadata["uid"]:
            self._known.remove(TRAINING_JOBS, training_job)
            raise RetryAfter(0)
        self._known.put(TRAINING_JOBS, read)
        return read

    async def observe(self, training_job: Manifest) -> Observed:
        """The cluster as seen for that MaskTrainingJob."""
        uid = training_job["metadata"]["uid"]
        seen = Observed(
            jobs=self._known.jobs_of(training_job),
            pods=self._known.pods_of(training_job),
            service=await self._named_like(training_job, SERVICES),
            network_policy=await self._network_policy(training_job),
            foreign_jobs=await self._standing_foreign_jobs(training_job),
        )
        # Gangs are admitted one at a time: a pod of an attempt that is over must not keep all of them waiting.
        waits = not self.needs_capacity(training_job)
        return await self._with_pools(training_job, await self._with_progress(uid, seen, waits=waits))

    async def ask_first(self, training_job: Manifest) -> float | None:
        """Ask the API server whether it would take the gang, if that is to be known before it may have nodes.

        Returns the seconds until that may be asked, None if it need not be. Not while others wait for this look: an
        answer takes as long as it takes.
        """
        if self._check is None or not self.is_unasked(training_job, also_old=True):
            return None
        capacity = self._pools.capacity_of(training_job["metadata"]["uid"])
        return await self._check.ask(training_job, None if capacity is None else capacity.pool)

    def is_unasked(self, training_job: Manifest, *, also_old: bool = False) -> bool:
        """Whether the job waits for that answer."""
        uid = training_job["metadata"]["uid"]
        if self._check is None or not self.needs_capacity(training_job):
            return False
        # Whose jobs no pool would take costs the API server nothing.
        capacity = self._pools.capacity_of(uid)
        if capacity is None or capacity.needs_a_person:
            return False
        return also_old or not self._check.has_answer(uid)

    def needs_capacity(self, training_job: Manifest) -> bool:
        """Whether node pools have a say in what the job does next: it has not ended, and no Job of it is at work."""
        if not self._pools.has_pools or has_ended(training_job):
            return False
        return all(map(is_over, self._known.jobs_of(training_job)))

    def saw_foreign_job(self, job_uid: str, name: str) -> None:
        """A Job of that name could not be created because someone else's stands there."""
        self._foreign_jobs[job_uid].add(name)

    def saw_refusals(self, training_job: Manifest, refusals: Iterable[Refusal]) -> None:
        """Of the job's writes, when they were last tried."""
        if self._check is not None:
            self._check.refused(training_job, refusals)

    def forget(self, job_uid: str) -> None:
        if self._check is not None:
            self._check.forget(job_uid)
        self._foreign_jobs.pop(job_uid, None)
        self._progress.forget(job_uid)

    async def _with_pools(self, training_job: Manifest, seen: Observed) -> Observed:
        if not self._pools.has_pools:
            return seen
        nodes = filter(None, map(node_name, seen.pods))
        uid = training_job["metadata"]["uid"]
        seen = replace(seen, node_rates=self._pools.node_rates(nodes))
        if has_ended(training_job):
            return seen
        if not self.needs_capacity(training_job):
            return self._with_start_timeout(training_job, replace(seen, overspent=self._pools.overspent(uid)))
        return self._with_start_timeout(training_job, await self._with_capacity(training_job, seen))

    def _with_start_timeout(self, training_job: Manifest, seen: Observed) -> Observed:
        """Of the pool that keeps nodes for it now, else of the one that its attempt has."""
        chosen = seen.capacity.pool if seen.capacity is not None else None
        pool = chosen or training_job.get("status", {}).get("nodePool")
        return replace(seen, start_timeout_seconds=self._pools.start_timeout_seconds(pool))

    async def _with_capacity(self, training_job: Manifest, seen: Observed) -> Observed:
        uid = training_job["metadata"]["uid"]
        capacity = self._pools.capacity_of(uid)
        # Whose jobs no pool would take costs the API server nothing.
        if self._check is None or capacity is None or capacity.needs_a_person:
            return replace(seen, capacity=capacity)
        refusal = self._check.answer(uid)
        return replace(seen, capacity=capacity, refusals=() if refusal is None else (refusal,))

    async def _with_progress(self, uid: str, seen: Observed, *, waits: bool) -> Observed:
        answer = await self._progress.read(uid, rank_zero_pod(seen), waits=waits)
        return replace(seen, progress=answer.progress, progress_error=answer.error)

    async def _network_policy(self, training_job: Manifest) -> Manifest | None:
        """None also where the operator writes none: it may not read them there."""
        if NETWORK_POLICIES not in self._known.listed:
            return None
        return await self._named_like(training_job, NETWORK_POLICIES)

    async def _named_like(self, training_job: Manifest, kind: ResourceKind) -> Manifest | None:
        metadata = training_job["metadata"]
        for body in self._known.claimed_by(training_job, kind):
            if body["metadata"]["name"] == metadata["name"]:
                return body
        # Nothing is created for it any more: only what is its own matters, and the cache shows that.
        if has_ended(training_job):
            return None
        return await self._client.get(kind, metadata["namespace"], metadata["name"])

    async def _standing_foreign_jobs(self, training_job: Manifest) -> tuple[str, ...]:
        metadata = training_job["metadata"]
        for name in sorted(self._foreign_jobs.get(metadata["uid"], ())):
            job = await self._client.get(JOBS, metadata["namespace"], name)
            if job is None or controller_uid(job) == metadata["uid"]:
                self._foreign_jobs[metadata["uid"]].discard(name)
        return tuple(sorted(self._foreign_jobs.get(metadata["uid"], ())))
