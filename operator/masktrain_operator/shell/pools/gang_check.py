"""Asks the API server whether it would take a gang's Job and pods, before nodes come for them: nodes cost money.

Each question is three requests, and whoever creates jobs decides how many there are to ask. So equal gangs share an
answer, each namespace has its own ration of questions, one of it at a time, and nobody else waits for them.
"""

import contextlib
import hashlib
import json
import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from kubernetes.aio.dynamic.exceptions import ConflictError

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.deadlines import refused
from masktrain_operator.core.gangs import Objection
from masktrain_operator.core.manifests.job import first_pod, job_manifest
from masktrain_operator.core.manifests.metadata import attempt_name
from masktrain_operator.core.resources import quota_objection
from masktrain_operator.core.types import Manifest, PlanSettings, Refusal, WriteKey
from masktrain_operator.shell.client import (
    JOBS,
    RESOURCE_QUOTAS,
    ApiError,
    KubernetesClient,
    api_message,
    api_reason,
)
from masktrain_operator.shell.status_writer import WriteRate

from .pool_cache import PoolCache

CHECK_AGAIN = timedelta(minutes=5)
"""Policies change while a gang waits for its nodes."""
QUOTAS_SECONDS = 10.0
"""So old may be what is known of a namespace's quotas; what was admitted since is added to it."""
QUESTIONS_AT_ONCE = 30
QUESTIONS_PER_SECOND = 1.0
"""Of one namespace."""
BUSY_SECONDS = 1.0
MOST_NAMESPACES = 1000
"""Beyond this, those of which nothing is kept are forgotten."""


@dataclass(frozen=True)
class _Checked:
    """An answer, for that generation of the job and until that moment."""

    generation: int
    until: datetime
    refusal: Refusal | None = None


@dataclass(frozen=True)
class _Shown:
    """What the API server said of gangs that differ in their names only.

    `refusal`: of the one that asked; its name is `asked_as`. `pod`: what quotas count of one of its pods.
    """

    until: datetime
    asked_as: str
    pod: Manifest = field(default_factory=dict)
    refusal: Refusal | None = None


class _Namespace:
    """What is known of a namespace, and when it may ask for more."""

    def __init__(self) -> None:
        self.rate = WriteRate(QUESTIONS_PER_SECOND, burst=QUESTIONS_AT_ONCE)
        self.is_asking = False
        self.shown: dict[str, _Shown] = {}
        self._quotas: tuple[Manifest, ...] = ()
        self._quotas_for: object = None
        self._quotas_until = -math.inf

    def wait_seconds(self, job_uid: str, clock: float) -> float:
        """0 if the job may ask now, and nobody else does."""
        wait = self.rate.wait_seconds(job_uid, clock)
        return max(wait, BUSY_SECONDS) if wait > 0 or self.is_asking else 0.0

    def keep(self, key: str, shown: _Shown, now: datetime) -> None:
        # Refusals stay for longer: how often in a row it was one says when to ask again.
        kept = {other: known for other, known in self.shown.items() if now < known.until + CHECK_AGAIN}
        self.shown = kept | {key: shown}

    def keep_quotas(self, quotas: tuple[Manifest, ...], placed: object, clock: float) -> None:
        """`placed`: which pods of gangs were there before: those that come later are in no quota of these."""
        self._quotas, self._quotas_for, self._quotas_until = quotas, placed, clock + QUOTAS_SECONDS

    def quotas(self, placed: object, clock: float) -> tuple[Manifest, ...] | None:
        return self._quotas if placed == self._quotas_for and clock < self._quotas_until else None

    def is_forgettable(self, now: datetime, clock: float) -> bool:
        return (
            not self.is_asking and self.rate.is_idle(clock) and all(known.until <= now for known in self.shown.values())
        )


class GangCheck:
    def __init__(
        self,
        client: KubernetesClient,
        pools: PoolCache,
        settings: PlanSettings,
        wake_pools: Callable[[], None],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._pools = pools
        self._settings = settings
        self._wake_pools = wake_pools
        self._now = now
        self._clock = clock
        self._answers: dict[str, _Checked] = {}
        self._namespaces: dict[str, _Namespace] = {}
        self._waits_in: dict[str, str] = {}

    async def ask(self, training_job: Manifest, pool: str | None) -> float | None:
        """Find out whether it would refuse, and tell admission; `answer` then has it.

        None once that is known, else the seconds after which the namespace may ask it; an earlier answer holds until
        then.
        """
        metadata = training_job["metadata"]
        uid, known = metadata["uid"], self._answers.get(metadata["uid"])
        is_of_this = known is not None and known.generation == metadata.get("generation", 1)
        if known is not None and is_of_this and self._now() < known.until:
            return None
        wait = await self._find_out(MaskTrainingJob.parse(training_job), pool)
        if wait is not None and not is_of_this:
            # Said of another spec, it would pass for what was asked.
            self._withdraw(uid)
        return wait

    async def _find_out(self, job: MaskTrainingJob, pool: str | None) -> float | None:
        namespace, key = self._of(job.metadata.namespace), self._template(job, pool)
        placed = {gang.job_uid: gang.placed_on for gang in self._pools.gangs_with_nodes(job.metadata.namespace)}
        shown, quotas = namespace.shown.get(key), namespace.quotas(placed, self._clock())
        is_known = shown is not None and self._now() < shown.until
        if shown is None or not is_known or (quotas is None and shown.refusal is None):
            wait = namespace.wait_seconds(job.metadata.uid, self._clock())
            if wait > 0:
                self._waits_in[job.metadata.uid] = job.metadata.namespace
                return wait
            namespace.is_asking = True
            try:
                shown = shown if shown is not None and is_known else await self._show(job, pool, shown)
                namespace.keep(key, shown, self._now())
                if shown.refusal is None:
                    quotas = await self._quotas(job.metadata.namespace)
                    namespace.keep_quotas(quotas, placed, self._clock())
            finally:
                namespace.is_asking = False
        self._decide(job, shown, quotas or ())
        return None

    def answer(self, job_uid: str) -> Refusal | None:
        """Why the API server would refuse the gang, when it was last asked."""
        known = self._answers.get(job_uid)
        return None if known is None else known.refusal

    def has_answer(self, job_uid: str) -> bool:
        return job_uid in self._answers

    def refused(self, training_job: Manifest, refusals: Iterable[Refusal]) -> None:
        """A Job that was really refused must not keep its nodes either, until it is tried again."""
        refusal = next((found for found in refusals if (found.verb, found.kind) == ("create", JOBS.kind)), None)
        if refusal is not None:
            metadata = training_job["metadata"]
            # What was said before is not true any more, for its like neither.
            self._of(metadata["namespace"]).shown.clear()
            self._keep(metadata["uid"], _Checked(metadata.get("generation", 1), refusal.retry_time, refusal))

    def forget(self, job_uid: str) -> None:
        self._withdraw(job_uid)
        namespace = self._namespaces.get(self._waits_in.pop(job_uid, ""))
        if namespace is not None:
            namespace.rate.forget(job_uid)

    def _withdraw(self, job_uid: str) -> None:
        if self._answers.pop(job_uid, None) is not None:
            self._pools.forget_check(job_uid)

    def _of(self, name: str) -> _Namespace:
        if len(self._namespaces) > MOST_NAMESPACES:
            now, clock = self._now(), self._clock()
            self._namespaces = {n: kept for n, kept in self._namespaces.items() if not kept.is_forgettable(now, clock)}
        return self._namespaces.setdefault(name, _Namespace())

    def _keep(self, uid: str, checked: _Checked) -> None:
        self._answers[uid] = checked
        refusal = checked.refusal
        objection = None if refusal is None else Objection(Reason.WRITE_REFUSED, refusal.sentence)
        if self._pools.put_check(uid, objection):
            self._wake_pools()

    def _template(self, job: MaskTrainingJob, pool: str | None) -> str:
        """The same for gangs that differ in their names only."""
        nameless = job.metadata.model_copy(update={"name": "job", "uid": ""})
        manifest = job_manifest(job.model_copy(update={"metadata": nameless}), 0, self._settings, pool)
        return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()

    async def _show(self, job: MaskTrainingJob, pool: str | None, before: _Shown | None) -> _Shown:
        """What the API server says of the Job and its first pod."""
        manifest = job_manifest(job, _next_attempt(job), self._settings, pool)
        name, pod = manifest["metadata"]["name"], first_pod(manifest)
        asked = manifest
        try:
            # Of that name there may be one; whose it is, is found out when it is to be created.
            with contextlib.suppress(ConflictError):
                await self._client.create_for_show(manifest)
            asked = pod
            shown = await self._client.create_for_show(pod)
        except ApiError as error:
            last = before.refusal if before is not None else None
            refusal = self._refusal(asked["kind"], name, api_reason(error), api_message(error), last)
            return _Shown(refusal.retry_time, name, refusal=refusal)
        return _Shown(self._now() + CHECK_AGAIN, name, pod=_counted(shown))

    async def _quotas(self, namespace: str) -> tuple[Manifest, ...]:
        listed = await self._client.list(RESOURCE_QUOTAS, namespace, lambda quota: quota)
        return tuple(listed.items)

    def _decide(self, job: MaskTrainingJob, shown: _Shown, quotas: Iterable[Manifest]) -> None:
        uid, generation = job.metadata.uid, job.metadata.generation
        name, before = attempt_name(job.metadata.name, _next_attempt(job)), self.answer(uid)
        if shown.refusal is not None:
            said = shown.refusal
            # Names of pods begin with it.
            message = re.sub(rf"(?<![\w.-]){re.escape(shown.asked_as)}\b", name, said.message)
            self._keep(uid, _Checked(generation, shown.until, replace(said, name=name, message=message)))
            return
        exceeded = quota_objection(shown.pod, job.spec.compute.nodes, quotas, self._promised(job))
        if exceeded is None:
            self._keep(uid, _Checked(generation, shown.until))
            return
        refusal = self._refusal("Pod", name, "Forbidden", exceeded, before)
        self._keep(uid, _Checked(generation, refusal.retry_time, refusal))

    def _refusal(self, kind: str, name: str, reason: str, message: str, before: Refusal | None) -> Refusal:
        write: WriteKey = ("create", kind, name)
        return refused(write, reason=reason, message=message, before=before, now=self._now())

    def _promised(self, job: MaskTrainingJob) -> Mapping[str, int]:
        """What the quotas do not count yet: pods to come of the namespace's other gangs that have nodes."""
        others = [
            (gang.nodes - len(gang.placed_on), gang.gpus_per_node)
            for gang in self._pools.gangs_with_nodes(job.metadata.namespace)
            if gang.job_uid != job.metadata.uid
        ]
        pods = sum(missing for missing, _ in others)
        gpus = sum(missing * each for missing, each in others)
        return {"pods": pods, "count/pods": pods, f"requests.{job.spec.compute.gpu_resource}": gpus}


def _next_attempt(job: MaskTrainingJob) -> int:
    return 0 if job.status.attempt is None else job.status.attempt + 1


def _counted(pod: Manifest) -> Manifest:
    """What quotas go by, of a pod that may be large."""
    spec = pod["spec"]
    kept = {key: spec[key] for key in ("priorityClassName", "overhead", "resources") if spec.get(key)}
    for group in ("containers", "initContainers"):
        kept[group] = [
            {key: container[key] for key in ("resources", "restartPolicy") if key in container}
            for container in spec.get(group, ())
        ]
    return {"spec": kept}
