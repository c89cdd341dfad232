"""Attacks on nodes and money by a second team, against a real API server: each of them got nodes for nothing once.

The team's account may edit MaskTrainingJobs in its own namespace, and nothing else.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from devcluster.cluster import Cluster
from masktrain_operator.api import labels
from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.pools.admission import Refusal
from masktrain_operator.core.types import PlanSettings
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.pools.gang_check import QUESTIONS_AT_ONCE, GangCheck
from masktrain_operator.shell.pools.pool_cache import PoolCache
from tests.api.pools.api_server import ApiServer
from tests.api.pools.conftest import (  # noqa: F401 (fixtures)
    OpenWorld,
    api_server,
    client,
    impatient_sdk,
    open_world,
    pools_served,
)
from tests.api.pools.operator_life import Client
from tests.api.pools.world import PoolWorld
from tests.api.training_jobs import training_job

pytestmark = pytest.mark.api

GPU = "nvidia.com/gpu"
ROLE = {"apiGroups": [labels.GROUP], "resources": [labels.PLURAL], "verbs": ["create", "get", "delete"]}
SETTINGS = PlanSettings(trainer_image="masktrain-trainer:dev")
A_WHILE = 300.0


class TeamB:
    """A person who may edit the MaskTrainingJobs of one namespace."""

    def __init__(self, admin: ApiServer, kubeconfig: Path, namespace: str) -> None:
        self.namespace = namespace
        self._jobs = f"/apis/{labels.API_VERSION}/namespaces/{namespace}/{labels.PLURAL}"
        rights = f"/apis/rbac.authorization.k8s.io/v1/namespaces/{namespace}"
        admin.create(f"{rights}/roles", {"metadata": {"name": "team-b"}, "rules": [ROLE]})
        subject = {"kind": "User", "name": "team-b", "apiGroup": "rbac.authorization.k8s.io"}
        reference = {"kind": "Role", "name": "team-b", "apiGroup": "rbac.authorization.k8s.io"}
        binding = {"metadata": {"name": "team-b"}, "subjects": [subject], "roleRef": reference}
        admin.create(f"{rights}/rolebindings", binding)
        self._api = ApiServer(kubeconfig, impersonated="team-b")

    def submit(self, name: str, **compute: Any) -> dict[str, Any]:
        fields = {f"compute__{key}": value for key, value in compute.items()}
        return self._api.create(self._jobs, training_job(name, compute__gpusPerNode=2, **fields))

    def delete(self, name: str) -> None:
        self._api.delete(f"{self._jobs}/{name}")

    def may_read(self, path: str) -> bool:
        return self._api.may_read(path)

    def close(self) -> None:
        self._api.close()


@pytest.fixture
async def world(open_world: OpenWorld) -> PoolWorld:  # noqa: F811
    return await open_world()


@pytest.fixture
def team_b(world: PoolWorld, pools_served: Cluster) -> Iterator[TeamB]:  # noqa: F811
    found = TeamB(world.api, pools_served.kubeconfig, world.name)
    world.api.has_changed = True
    yield found
    found.close()


def refusal_of(world: PoolWorld, job: dict[str, Any]) -> Refusal | None:
    return world.pool_cache.admissions().refusals.get(job["metadata"]["uid"])


def spent(world: PoolWorld) -> Decimal:
    """By all namespaces, in this month."""
    return sum((Decimal(usage["amount"]) for usage in world.status.get("namespaces", ())), Decimal(0))


async def test_a_team_that_the_pool_does_not_select_gets_no_node(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: name another team's pool. Before, every namespace could grow every pool to its maximum."""
    world.create_pool(allowedNamespaces={"matchLabels": {"team": "a"}})
    job = team_b.submit("greedy", nodes=2, nodePoolRef={"name": world.name})
    world.api.has_changed = True
    await world.run(A_WHILE)
    assert world.cloud_pool.size == 0
    refused = refusal_of(world, job)
    assert refused is not None
    assert refused.reason is Reason.NAMESPACE_NOT_ALLOWED
    assert "AllNamespaces" not in world.event_reasons()

    world.api.merge(f"/api/v1/namespaces/{team_b.namespace}", {"metadata": {"labels": {"team": "a"}}})
    await world.run_until(lambda: world.cloud_pool.size == 2)


async def test_a_pool_for_everybody_says_so_once(world: PoolWorld, team_b: TeamB) -> None:
    world.create_pool()
    team_b.submit("masks")
    world.api.has_changed = True
    await world.run_until(lambda: world.cloud_pool.size == 1)
    await world.restart_operator()
    await world.run(60)
    assert world.event_reasons().count("AllNamespaces") == 1
    assert world.condition("NamespacesRestricted")["status"] == "False"


async def test_deleting_jobs_gives_a_team_no_more_nodes(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: a job, deleted once Oracle has been asked for its node, and the next one, again and again."""
    world.create_pool(namespaceLimits={"nodes": 1})
    for number in range(4):
        team_b.submit(f"greedy-{number}")
        world.api.has_changed = True
        await world.run(4)
        team_b.delete(f"greedy-{number}")
        world.api.has_changed = True
        await world.run(2)
        assert world.cloud_pool.size <= 1
    assert len(world.fake.ledger.entries()) <= 1
    (usage,) = world.status["namespaces"]
    assert (usage["name"], usage["nodes"]) == (team_b.namespace, 1)


async def test_a_month_that_is_spent_stays_spent_when_its_jobs_are_deleted(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: nodes for jobs that are deleted before anything is counted for them."""
    world.create_pool(namespaceLimits={"monthlyCost": "1"}, hourlyPrice="36", minimumBilledSeconds=120)
    team_b.submit("first")
    world.api.has_changed = True
    await world.run_until(lambda: spent(world) >= 1)
    team_b.delete("first")
    world.api.has_changed = True
    await world.restart_operator()
    await world.run_until(lambda: world.cloud_pool.size == 0)
    job = team_b.submit("second")
    world.api.has_changed = True
    await world.run(A_WHILE)
    assert len(world.fake.ledger.entries()) == 1
    refused = refusal_of(world, job)
    assert refused is not None
    assert refused.reason is Reason.NAMESPACE_LIMIT_REACHED


async def test_a_class_that_the_pool_does_not_list_jumps_no_queue(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: the highest PriorityClass of the cluster, before all other teams' jobs."""
    world.create_pool(allowedPriorityClasses=["low"])
    job = team_b.submit("urgent", priorityClassName="urgent")
    world.api.has_changed = True
    await world.run(60)
    assert world.cloud_pool.size == 0
    refused = refusal_of(world, job)
    assert refused is not None
    assert refused.reason is Reason.PRIORITY_CLASS_NOT_ALLOWED


async def test_no_job_takes_a_system_class(team_b: TeamB) -> None:
    """Attack: a job that preempts what the cluster itself runs on."""
    with pytest.raises(AssertionError, match="system class"):
        team_b.submit("critical", priorityClassName="system-node-critical")


async def test_the_team_sees_no_pool_and_no_quota(team_b: TeamB) -> None:
    assert not team_b.may_read(f"/apis/{labels.API_VERSION}/{labels.POOL_PLURAL}")
    assert not team_b.may_read(f"/api/v1/namespaces/{team_b.namespace}/resourcequotas")


async def test_a_waiting_job_tells_nothing_of_how_the_operator_signs(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: wait for a pool that Oracle does not show. The job's condition named the operator's own Secret."""
    world.create_pool(auth={"type": "ConfigSecret", "configSecretRef": {"name": "keys-of-the-tenancy"}})
    job = team_b.submit("curious")
    world.api.has_changed = True
    await world.run_until(lambda: "keys-of-the-tenancy" in str(world.status))
    refused = refusal_of(world, job)
    assert refused is not None
    assert "Oracle does not show its nodes" in refused.message
    assert "keys-of-the-tenancy" not in refused.message


QUOTA_GPUS: dict[str, Any] = {"metadata": {"name": "gpus"}, "spec": {"hard": {f"requests.{GPU}": "3"}}}
LIMITS = {"type": "Container", "max": {"cpu": "1"}}
TWO_CPUS = {"requests": {"cpu": "2"}, "limits": {"cpu": "2"}}
SMALL = {"metadata": {"name": "small"}, "spec": {"limits": [LIMITS]}}
REFUSED = {
    "a mistyped ServiceAccount": ({"serviceAccountName": "trianer"}, None, 'serviceaccount "trianer" not found'),
    "a class that does not exist": ({"priorityClassName": "nobody"}, None, "no PriorityClass with name nobody"),
    "a LimitRange": ({"resources": TWO_CPUS}, ("limitranges", SMALL), "maximum cpu usage per Container is 1"),
}


@pytest.mark.parametrize(("compute", "rule", "words"), REFUSED.values(), ids=REFUSED)
async def test_a_gang_whose_pods_would_be_refused_is_found_out_before_nodes_come(
    world: PoolWorld,
    team_b: TeamB,
    client: Client,  # noqa: F811
    compute: dict[str, Any],
    rule: tuple[str, dict[str, Any]] | None,
    words: str,
) -> None:
    """Attack: pods that can never be created; eight nodes waited for them for 30 days, for 11,521 USD."""
    if rule is not None:
        world.api.create(f"/api/v1/namespaces/{team_b.namespace}/{rule[0]}", rule[1])
    assert words in (await checked(client, team_b.submit("masks", **compute)) or "")


async def test_the_quota_is_asked_about_the_whole_gang(
    world: PoolWorld,
    team_b: TeamB,
    client: Client,  # noqa: F811
) -> None:
    """Attack: a gang of which one pod fits. There is no quota controller here: the test counts in its place."""
    quotas = f"/api/v1/namespaces/{team_b.namespace}/resourcequotas"
    world.api.create(quotas, QUOTA_GPUS)
    hard = QUOTA_GPUS["spec"]["hard"]
    world.api.merge(f"{quotas}/gpus/status", {"status": {"hard": hard, "used": {f"requests.{GPU}": "0"}}})
    assert await checked(client, team_b.submit("one", nodes=1)) is None
    said = await checked(client, team_b.submit("pair", nodes=2))
    assert said is not None
    assert "exceeded quota: gpus, requested for all 2 pods" in said
    pods = world.api.get(f"/api/v1/namespaces/{team_b.namespace}/pods")["items"]
    jobs = world.api.get(f"/apis/batch/v1/namespaces/{team_b.namespace}/jobs")["items"]
    assert (pods, jobs) == ([], []), "nothing is left of the questions"


async def test_a_pod_that_never_ends_and_a_job_for_all_nodes_hold_no_queue(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: keep one GPU by a plain pod and ask for all nodes: everybody else waited behind that job for ever."""
    victim = f"{world.name}-victim"
    world.api.create("/api/v1/namespaces", {"metadata": {"name": victim}})
    world.also_watched.append(victim)
    await world.restart_operator()
    world.create_pool(maxNodes=2, minNodes=1)
    world.api.has_changed = True
    await world.run_until(lambda: len(world.status.get("nodes", ())) == 1 and "name" in world.status["nodes"][0])
    containers = [{"name": "idle", "image": "idle", "resources": {"limits": {GPU: "1"}}}]
    on_node = {"nodeName": world.node_names()[0], "automountServiceAccountToken": False, "containers": containers}
    pod = {"metadata": {"name": "keeper"}, "spec": on_node}
    world.api.create(f"/api/v1/namespaces/{team_b.namespace}/pods", pod)
    greedy = team_b.submit("greedy", nodes=2)
    world.api.has_changed = True
    await world.run(60)

    other = training_job("masks", compute__gpusPerNode=2)
    job = world.api.create(f"/apis/{labels.API_VERSION}/namespaces/{victim}/{labels.PLURAL}", other)
    world.api.has_changed = True
    await world.run_until(lambda: world.cloud_pool.size == 2)
    assert job["metadata"]["uid"] in world.pool_cache.admissions().placements
    refused = refusal_of(world, greedy)
    assert refused is not None
    assert f"namespace {team_b.namespace} itself fill 1 of its 2 nodes" in refused.message
    assert victim not in refused.message

    world.api.delete(f"/api/v1/namespaces/{team_b.namespace}/pods/keeper")
    world.api.delete(f"/apis/{labels.API_VERSION}/namespaces/{victim}/{labels.PLURAL}/masks")
    world.api.has_changed = True
    await world.run_until(lambda: refusal_of(world, greedy) is None)


async def test_a_team_has_the_api_server_asked_no_more_than_its_ration(
    world: PoolWorld,
    team_b: TeamB,
    client: Client,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Attack: jobs and jobs, none like the other: three requests for each, and again every few minutes."""
    asked: list[str] = []
    show = client.create_for_show

    async def counted(manifest: dict[str, Any]) -> dict[str, Any]:
        asked.append(manifest["metadata"]["namespace"])
        return await show(manifest)

    monkeypatch.setattr(client, "create_for_show", counted)
    check = GangCheck(
        client, PoolCache(KnownObjects(), lambda: datetime.now(UTC)), SETTINGS, lambda: None, clock=lambda: 0.0
    )
    jobs = [team_b.submit(f"flood-{n}", env=[{"name": "N", "value": str(n)}]) for n in range(QUESTIONS_AT_ONCE + 20)]
    waits = [await check.ask(as_watched(job), "gpu") for job in jobs]
    assert waits.count(None) == QUESTIONS_AT_ONCE
    assert asked == [team_b.namespace] * 2 * QUESTIONS_AT_ONCE

    victim = f"{world.name}-victim"
    world.api.create("/api/v1/namespaces", {"metadata": {"name": victim}})
    job = world.api.create(f"/apis/{labels.API_VERSION}/namespaces/{victim}/{labels.PLURAL}", training_job("masks"))
    assert await check.ask(as_watched(job), "gpu") is None
    assert asked[-2:] == [victim] * 2


def as_watched(job: dict[str, Any]) -> dict[str, Any]:
    return {**job, "apiVersion": labels.API_VERSION, "kind": labels.KIND}


async def checked(client: Client, job: dict[str, Any]) -> str | None:  # noqa: F811
    """Why the API server would not take the gang, in its own words."""
    pools = PoolCache(KnownObjects(), lambda: datetime.now(UTC), asks_first=True)
    body = as_watched(job)
    check = GangCheck(client, pools, SETTINGS, lambda: None)
    assert await check.ask(body, "gpu") is None
    refusal = check.answer(job["metadata"]["uid"])
    return None if refusal is None else refusal.message


async def test_a_pod_that_asks_for_a_thousand_gpus_stops_no_pool(world: PoolWorld, team_b: TeamB) -> None:
    """Attack: 1000 GPUs, which the API server itself writes as 1k. Before, planning raised for every pool."""
    world.create_pool()
    job = team_b.submit("masks", nodes=1)
    pods = f"/api/v1/namespaces/{team_b.namespace}/pods"
    containers = [{"name": "many", "image": "many", "resources": {"limits": {GPU: "1000"}}}]
    claim = {labels.JOB_UID_LABEL: job["metadata"]["uid"], labels.ATTEMPT_LABEL: "x"}
    for name, node in (("pending", {}), ("bound", {"nodeName": "elsewhere"})):
        spec = {"containers": containers, "automountServiceAccountToken": False, **node}
        created = world.api.create(pods, {"metadata": {"name": name, "labels": claim}, "spec": spec})
        assert created["spec"]["containers"][0]["resources"]["limits"][GPU] == "1k"
    world.api.has_changed = True
    await world.run_until(lambda: world.cloud_pool.size == 1)


async def test_a_pod_whose_claim_nobody_can_meet_keeps_no_node(world: PoolWorld) -> None:
    """Attack: a pod that names a pool's node and a claim that does not exist. It never starts, and kept the node."""
    world.create_pool()
    job = world.workload.submit("masks", nodes=2)
    await world.run_until(lambda: job.is_whole)
    pods, (idle, busy) = f"/api/v1/namespaces/{world.name}/pods", world.node_names()
    for name, node in (("never-starts", idle), ("runs", busy)):
        claim = {"name": "gpu", "resourceClaimName": "none"}
        spec = {"nodeName": node, "containers": [{"name": "c", "image": "theirs"}], "resourceClaims": [claim]}
        world.api.create(pods, {"metadata": {"name": name}, "spec": spec | {"automountServiceAccountToken": False}})
    world.api.merge(f"{pods}/runs/status", {"status": {"phase": "Running"}})
    world.workload.finish("masks")
    await world.run_until(lambda: world.node_names() == [busy])
    await world.run(A_WHILE)

    assert world.node_names() == [busy]
