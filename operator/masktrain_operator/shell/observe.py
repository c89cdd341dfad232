"""Gathers what the plan of one job is made from."""

from collections import defaultdict
from dataclasses import replace

from masktrain_operator.core.attempts import rank_zero_pod
from masktrain_operator.core.jobs import is_finished
from masktrain_operator.core.manifests.metadata import controller_uid
from masktrain_operator.core.pods import node_name
from masktrain_operator.core.pools.packing import has_ended
from masktrain_operator.core.types import Manifest, Observed
from masktrain_operator.shell.pools.pool_cache import PoolCache

from .caches import KnownObjects
from .client import JOBS, SERVICES, KubernetesClient
from .progress import ProgressReader


class Observer:
    """Reads the caches; asks the API server only for what no watch of ours shows: objects of others."""

    def __init__(
        self, known: KnownObjects, client: KubernetesClient, progress: ProgressReader, pools: PoolCache
    ) -> None:
        self._pools = pools
        self._known = known
        self._client = client
        self._progress = progress
        self._foreign_jobs: defaultdict[str, set[str]] = defaultdict(set)

    async def observe(self, training_job: Manifest) -> Observed:
        """The cluster as seen for that MaskTrainingJob."""
        uid = training_job["metadata"]["uid"]
        # The cache goes by a label, which anybody may copy; the owner reference says whose a Job is.
        jobs = tuple(job for job in self._known.jobs.owned_by(uid) if controller_uid(job) == uid)
        seen = Observed(
            jobs=jobs,
            pods=self._known.pods.owned_by(uid),
            service=await self._service(training_job),
            foreign_jobs=await self._standing_foreign_jobs(training_job),
        )
        return self._with_pools(training_job, await self._with_progress(uid, seen))

    def needs_capacity(self, training_job: Manifest) -> bool:
        """Whether node pools have a say in what the job does next: it has not ended, and no Job of it is at work."""
        owned = self._known.jobs.owned_by(training_job["metadata"]["uid"])
        return self._pools.has_pools and not has_ended(training_job) and all(map(is_finished, owned))

    def saw_foreign_job(self, job_uid: str, name: str) -> None:
        """A Job of that name could not be created because someone else's stands there."""
        self._foreign_jobs[job_uid].add(name)

    def forget(self, job_uid: str) -> None:
        self._foreign_jobs.pop(job_uid, None)
        self._progress.forget(job_uid)

    def _with_pools(self, training_job: Manifest, seen: Observed) -> Observed:
        if not self._pools.has_pools:
            return seen
        nodes = filter(None, map(node_name, seen.pods))
        uid = training_job["metadata"]["uid"]
        capacity = self._pools.capacity_of(uid) if self.needs_capacity(training_job) else None
        return replace(seen, capacity=capacity, node_rates=self._pools.node_rates(nodes))

    async def _with_progress(self, uid: str, seen: Observed) -> Observed:
        answer = await self._progress.read(uid, rank_zero_pod(seen))
        return replace(seen, progress=answer.progress, progress_error=answer.error)

    async def _service(self, training_job: Manifest) -> Manifest | None:
        metadata = training_job["metadata"]
        for service in self._known.services.owned_by(metadata["uid"]):
            if service["metadata"]["name"] == metadata["name"]:
                return service
        # Nothing is created for it any more: only its own Service matters, and the cache shows that.
        if has_ended(training_job):
            return None
        return await self._client.get(SERVICES, metadata["namespace"], metadata["name"])

    async def _standing_foreign_jobs(self, training_job: Manifest) -> tuple[str, ...]:
        metadata = training_job["metadata"]
        for name in sorted(self._foreign_jobs.get(metadata["uid"], ())):
            job = await self._client.get(JOBS, metadata["namespace"], name)
            if job is None or controller_uid(job) == metadata["uid"]:
                self._foreign_jobs[metadata["uid"]].discard(name)
        return tuple(sorted(self._foreign_jobs.get(metadata["uid"], ())))
