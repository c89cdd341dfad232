"""Gathers what the plan of one job is made from."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from kubernetes.aio.dynamic.exceptions import ConflictError
from kubernetes.utils import quantity

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.attempts import rank_zero_pod
from masktrain_operator.core.deadlines import refused
from masktrain_operator.core.jobs import is_over
from masktrain_operator.core.manifests.job import job_manifest
from masktrain_operator.core.manifests.metadata import attempt_name, controller_uid
from masktrain_operator.core.pods import node_name
from masktrain_operator.core.pools.packing import Objection, has_ended
from masktrain_operator.core.types import Manifest, Observed, PlanSettings, Refusal, WriteKey
from masktrain_operator.shell.pools.pool_cache import PoolCache

from .caches import KnownObjects
from .client import (
    JOBS,
    NETWORK_POLICIES,
    RESOURCE_QUOTAS,
    SERVICES,
    ApiError,
    KubernetesClient,
    ResourceKind,
    api_message,
    api_reason,
)
from .progress import ProgressReader

CHECK_AGAIN = timedelta(minutes=5)
"""Quotas fill while a gang waits for its nodes."""


@dataclass(frozen=True)
class _Checked:
    """An answer, for that generation of the job and until that moment."""

    generation: int
    until: datetime
    refusal: Refusal | None = None


class GangCheck:
    """Asks the API server whether it would take a gang's Job and pods, before nodes come for them: nodes cost money."""

    def __init__(
        self,
        client: KubernetesClient,
        pools: PoolCache,
        settings: PlanSettings,
        wake_pools: Callable[[], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._pools = pools
        self._settings = settings
        self._wake_pools = wake_pools
        self._now = now
        self._answers: dict[str, _Checked] = {}

    async def ask(self, training_job: Manifest, pool: str | None) -> Refusal | None:
        """Why it would refuse; kept for a while, and told to admission."""
        job = MaskTrainingJob.parse(training_job)
        uid, generation, now = job.metadata.uid, job.metadata.generation, self._now()
        known = self._answers.get(uid)
        if known is not None and known.generation == generation and now < known.until:
            return known.refusal
        found = await self._objection(job, pool)
        if found is None:
            self._keep(uid, _Checked(generation, now + CHECK_AGAIN))
            return None
        before = known.refusal if known is not None else None
        write: WriteKey = ("create", found[0], attempt_name(job.metadata.name, _next_attempt(job)))
        refusal = refused(write, reason=found[1], message=found[2], before=before, now=now)
        self._keep(uid, _Checked(generation, refusal.retry_time, refusal))
        return refusal

    def refused(self, training_job: Manifest, refusals: Iterable[Refusal]) -> None:
        """A Job that was really refused must not keep its nodes either, until it is tried again."""
        refusal = next((found for found in refusals if (found.verb, found.kind) == ("create", JOBS.kind)), None)
        if refusal is not None:
            metadata = training_job["metadata"]
            self._keep(metadata["uid"], _Checked(metadata.get("generation", 1), refusal.retry_time, refusal))

    def forget(self, job_uid: str) -> None:
        if self._answers.pop(job_uid, None) is not None:
            self._pools.forget_check(job_uid)

    def _keep(self, uid: str, checked: _Checked) -> None:
        self._answers[uid] = checked
        refusal = checked.refusal
        objection = None if refusal is None else Objection(Reason.WRITE_REFUSED, refusal.sentence)
        if self._pools.put_check(uid, objection):
            self._wake_pools()

    async def _objection(self, job: MaskTrainingJob, pool: str | None) -> tuple[str, str, str] | None:
        """Kind, reason and sentence of the first refusal."""
        manifest = job_manifest(job, _next_attempt(job), self._settings, pool)
        try:
            await self._client.create_for_show(manifest)
        except ConflictError:
            pass  # of that name there is one; whose it is, is found out when it is to be created
        except ApiError as error:
            return manifest["kind"], api_reason(error), api_message(error)
        pod = first_pod(manifest)
        try:
            shown = await self._client.create_for_show(pod)
        except ApiError as error:
            return pod["kind"], api_reason(error), api_message(error)
        quotas = await self._client.list(RESOURCE_QUOTAS, job.metadata.namespace)
        exceeded = quota_objection(shown, job.spec.compute.nodes, quotas["items"], self._promised(job))
        return None if exceeded is None else (pod["kind"], "Forbidden", exceeded)

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


def first_pod(batch_job: Manifest) -> Manifest:
    """As the Job controller would create it, but for the owner, which does not exist yet."""
    metadata, template = batch_job["metadata"], batch_job["spec"]["template"]
    named = {"generateName": f"{metadata['name']}-0-", "namespace": metadata["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], **named}, "spec": template["spec"]}


def _next_attempt(job: MaskTrainingJob) -> int:
    return 0 if job.status.attempt is None else job.status.attempt + 1


# A ResourceQuota is asked about one object at a time, and reserves nothing for a dry run: the gang is summed up here.


def quota_objection(
    pod: Manifest, nodes: int, quotas: Iterable[Manifest], promised: Mapping[str, int] | None = None
) -> str | None:
    """Why the quotas of a namespace have no room for a batch Job with `nodes` such pods; None if they have.

    `pod`: as the API server would create it, with its defaults. `promised`: what others will add to `used`.
    """
    asked = _gang_amounts(pod, nodes)
    for quota in quotas:
        if not _is_for(quota, pod):
            continue
        status = quota.get("status", {})
        for key, hard in sorted(status.get("hard", {}).items()):
            used = status.get("used", {}).get(key, "0")
            coming = (promised or {}).get(key, 0)
            if key in asked and asked[key] and _amount(used) + coming + asked[key] > _amount(hard):
                soon = f" and {coming} by jobs that start" if coming else ""
                return (
                    f"exceeded quota: {quota['metadata']['name']}, requested for all {nodes} pods: "
                    f"{key}={asked[key].normalize():f}, used: {key}={used}{soon}, limited: {key}={hard}"
                )
    return None


def _gang_amounts(pod: Manifest, nodes: int) -> Mapping[str, Decimal]:
    """What the gang adds to each count of a quota."""
    amounts = {"pods": Decimal(nodes), "count/pods": Decimal(nodes), "count/jobs.batch": Decimal(1)}
    for section in ("requests", "limits"):
        for name, amount in _pod_amounts(pod["spec"], section).items():
            amounts[f"{section}.{name}"] = amount * nodes
            if section == "requests":
                amounts[name] = amount * nodes
    return amounts


def _pod_amounts(spec: Manifest, section: str) -> Mapping[str, Decimal]:
    """Init containers run one after the other before the rest; sidecars, which restart always, stay and add up."""
    together: dict[str, Decimal] = {}
    sidecars: dict[str, Decimal] = {}
    first: dict[str, Decimal] = {}
    for container in spec.get("containers", ()):
        for name, amount in container.get("resources", {}).get(section, {}).items():
            together[name] = together.get(name, Decimal(0)) + _amount(amount)
    for container in spec.get("initContainers", ()):
        asked = {name: _amount(a) for name, a in container.get("resources", {}).get(section, {}).items()}
        for name, amount in asked.items():
            before = sidecars.get(name, Decimal(0))
            first[name] = max(first.get(name, Decimal(0)), before + amount)
            if container.get("restartPolicy") == "Always":
                sidecars[name] = before + amount
    names = together.keys() | first.keys()
    zero = Decimal(0)
    return {n: max(together.get(n, zero) + sidecars.get(n, zero), first.get(n, zero)) for n in names}


def _amount(text: object) -> Decimal:
    return Decimal(quantity.parse_quantity(text))  # type: ignore[no-untyped-call]


def _is_for(quota: Manifest, pod: Manifest) -> bool:
    """Whether the quota counts such pods. Of scopes that are not known here nothing is said."""
    spec = quota.get("spec", {})
    expressions = [
        *({"scopeName": scope, "operator": "Exists"} for scope in spec.get("scopes", ())),
        *spec.get("scopeSelector", {}).get("matchExpressions", ()),
    ]
    return all(_in_scope(expression, pod) for expression in expressions)


def _in_scope(expression: Manifest, pod: Manifest) -> bool:
    match expression["scopeName"]:
        case "NotTerminating" | "NotBestEffort":
            return True
        case "PriorityClass":
            name, values = pod["spec"].get("priorityClassName"), expression.get("values", ())
            operator = expression["operator"]
            is_in = name in values if operator in ("In", "NotIn") else bool(name)
            return is_in == (operator in ("In", "Exists"))
        case _:
            return False


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
        return await self._with_pools(training_job, await self._with_progress(uid, seen))

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
            return replace(seen, overspent=self._pools.overspent(uid))
        capacity = self._pools.capacity_of(uid)
        # Whose jobs no pool would take costs the API server nothing.
        if self._check is None or capacity is None or capacity.needs_a_person:
            return replace(seen, capacity=capacity)
        refusal = await self._check.ask(training_job, capacity.pool)
        refusals = () if refusal is None else (refusal,)
        return replace(seen, capacity=self._pools.capacity_of(uid), refusals=refusals)

    async def _with_progress(self, uid: str, seen: Observed) -> Observed:
        answer = await self._progress.read(uid, rank_zero_pod(seen))
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
