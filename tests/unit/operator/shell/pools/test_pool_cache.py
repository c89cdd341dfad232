"""How often admission is computed: once per change of what it goes by, never for jobs that have ended."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest.mock import Mock, patch

import pytest

from masktrain_operator.api import labels
from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.gangs import Objection
from masktrain_operator.core.pools import admission, snapshot
from masktrain_operator.core.pools.oke import OkeNode, OkePool
from masktrain_operator.shell.caches import KnownObjects
from masktrain_operator.shell.client import (
    JOBS,
    NAMESPACES,
    NODE_POOLS,
    NODES,
    PODS,
    PRIORITY_CLASSES,
    SERVICES,
    TRAINING_JOBS,
    ResourceKind,
)
from masktrain_operator.shell.observe import Observer
from masktrain_operator.shell.pools.observe_pool import PoolObservation
from masktrain_operator.shell.pools.pool_cache import PoolCache
from masktrain_operator.shell.progress import ProgressReader

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
CREATED = "2026-03-04T11:00:00Z"
MANY = 100


class Cluster:
    """The operator's caches, written to as the watches would, and one pool that Oracle has shown."""

    def __init__(self, *, asks_first: bool = False) -> None:
        self.now = NOW
        self.known = KnownObjects()
        self.pools = PoolCache(self.known, lambda: self.now, asks_first=asks_first)
        self.observer = Observer(self.known, Mock(), ProgressReader(Mock(), 10, wake=Mock()), self.pools)
        self._versions = 0
        self.put_pool()
        self.observe_pool()

    def put_pool(self, limits: dict[str, Any] | None = None, **status: Any) -> None:
        spec = {"nodePoolId": "ocid1.nodepool.x", "region": "us-ashburn-1", "maxNodes": 2, **(limits or {})}
        self.put(NODE_POOLS, "gpu", spec=spec, status=status)

    def observe_pool(self, *nodes: OkeNode) -> None:
        oke = OkePool("ocid1.nodepool.x", "gpu", "c", "k", "ACTIVE", "", len(nodes), "e", "VM.GPU.A10.2", False, nodes)
        self.pools.put("uid-of-gpu", PoolObservation(oke, at=0.0))

    def put(self, kind: ResourceKind, name: str, *, metadata: dict[str, Any] | None = None, **fields: Any) -> None:
        self._versions += 1
        made = {"name": name, "uid": f"uid-of-{name}", "resourceVersion": str(self._versions)}
        made |= {"creationTimestamp": CREATED} | ({"namespace": "vision"} if kind.namespaced else {})
        self.known.put(kind, {"metadata": {**made, **(metadata or {})}, **fields})

    def submit(self, *names: str, nodes: int = 1, ended: str = "", **status: Any) -> None:
        """Also a job that is there already: with another status."""
        conditions = [{"type": ended, "status": "True", "reason": "Test"}] if ended else []
        for name in names:
            spec = {"compute": {"nodes": nodes, "gpusPerNode": 2}}
            self.put(TRAINING_JOBS, name, spec=spec, status={"conditions": conditions, **status})
            of_job = {labels.JOB_UID_LABEL: f"uid-of-{name}"}
            self.put(SERVICES, name, metadata={"uid": f"uid-of-service-{name}", "labels": of_job})

    def start(self, name: str) -> None:
        """Its batch Job is there: what the status says of that comes a moment later."""
        of_job = {labels.JOB_UID_LABEL: f"uid-of-{name}", labels.ATTEMPT_LABEL: "0"}
        owned = {**of_job, labels.NODE_POOL_LABEL: "gpu"}
        owner = {"uid": f"uid-of-{name}", "controller": True}
        self.put(JOBS, f"{name}-0", metadata={"labels": owned, "ownerReferences": [owner]}, spec={}, status={})

    async def reconcile_all(self) -> None:
        for job in list(self.known.training_jobs):
            await self.observer.observe(job)

    def pool_of(self, name: str) -> str | None:
        capacity = self.pools.capacity_of(f"uid-of-{name}")
        assert capacity is not None
        return capacity.pool


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def computed() -> Iterator[Mock]:
    """Counts the calls of admission."""
    with patch.object(snapshot, "admit", wraps=admission.admit) as calls:
        yield calls


@pytest.mark.parametrize("ended", ["Complete", "Failed"])
async def test_jobs_that_have_ended_never_ask(cluster: Cluster, computed: Mock, ended: str) -> None:
    cluster.submit(*(f"job-{number}" for number in range(MANY)), ended=ended)
    await cluster.reconcile_all()
    assert computed.call_count == 0


async def test_jobs_that_wait_share_one_answer(cluster: Cluster, computed: Mock) -> None:
    cluster.submit(*(f"job-{number}" for number in range(MANY)))
    await cluster.reconcile_all()
    await cluster.reconcile_all()
    assert computed.call_count == 1


async def test_what_a_status_says_of_a_job_admits_nobody_anew(cluster: Cluster, computed: Mock) -> None:
    names = [f"job-{number}" for number in range(MANY)]
    cluster.submit(*names)
    for name in names:
        await cluster.reconcile_all()
        cluster.submit(name, progress={"epoch": 3})
    assert computed.call_count == 1


async def test_other_pods_and_nodes_admit_nobody_anew(cluster: Cluster, computed: Mock) -> None:
    cluster.submit("job")
    await cluster.reconcile_all()
    cluster.put(NODES, "of-no-pool", spec={"providerID": "ocid1.instance.other"})
    cluster.put(PODS, "of-nobody", spec={"nodeName": "of-no-pool", "containers": []})
    cluster.put(PRIORITY_CLASSES, "high", value=7)
    await cluster.reconcile_all()
    assert computed.call_count == 1


async def test_a_gang_that_starts_takes_its_nodes_from_the_next_one(cluster: Cluster, computed: Mock) -> None:
    """Both fit alone; the Job of the first one is in the caches as soon as it is created."""
    cluster.submit("first", "second", nodes=2)
    assert cluster.pool_of("first") == "gpu"
    assert cluster.pool_of("second") is None
    cluster.start("first")
    assert cluster.pool_of("second") is None
    assert computed.call_count == 2


@pytest.mark.parametrize("change", ["ends", "is deleted", "loses its Job"])
async def test_whatever_frees_nodes_admits_anew(cluster: Cluster, computed: Mock, change: str) -> None:
    cluster.submit("first", "second", nodes=2)
    cluster.start("first")
    assert cluster.pool_of("second") is None
    match change:
        case "ends":
            cluster.submit("first", nodes=2, ended="Failed")
        case "is deleted":
            cluster.known.remove(TRAINING_JOBS, {"metadata": {"uid": "uid-of-first"}})
        case _:
            cluster.known.remove(JOBS, {"metadata": {"uid": "uid-of-first-0"}})
            cluster.known.remove(TRAINING_JOBS, {"metadata": {"uid": "uid-of-first"}})
    assert cluster.pool_of("second") == "gpu"
    assert computed.call_count == 2


@pytest.mark.parametrize("status", [{}, {"attempt": 0, "attemptUid": "uid-of-younger-0"}])
def test_a_batch_job_that_no_admission_made_does_not_go_first(cluster: Cluster, status: dict[str, Any]) -> None:
    """Whoever may create Jobs made one that named the pool, and was served before the older ones."""
    cluster.submit("older", nodes=2)
    cluster.submit("younger", nodes=2, **status)
    cluster.start("younger")
    cluster.now += timedelta(seconds=1)
    assert cluster.pool_of("older") == "gpu"
    assert cluster.pool_of("younger") is None
    cluster.known.remove(TRAINING_JOBS, {"metadata": {"uid": "uid-of-older"}})
    assert cluster.pool_of("younger") == "gpu", "it has its turn"


@pytest.mark.parametrize("uid", [{}, {"attemptUid": "uid-of-runs-0"}], ids=["just written", "a look later"])
def test_an_operator_that_starts_anew_knows_who_was_admitted(cluster: Cluster, uid: dict[str, str]) -> None:
    cluster.submit("older", nodes=2)
    cluster.submit("runs", nodes=2, nodePool="gpu", attempt=0, **uid)
    cluster.start("runs")
    assert cluster.pool_of("runs") == "gpu"
    assert cluster.pool_of("older") is None


def test_a_deleted_job_keeps_the_nodes_of_its_pods_and_asks_for_no_other(cluster: Cluster) -> None:
    """A finalizer keeps the resource and the garbage collector does not come: it was in no account any more."""
    cluster.submit("first", nodes=2, nodePool="gpu", attempt=0, attemptUid="uid-of-first-0")
    cluster.start("first")
    owner = {"uid": "uid-of-first-0", "controller": True}
    claims = {"labels": {labels.JOB_UID_LABEL: "uid-of-first"}, "ownerReferences": [owner]}
    on_node = {"nodeName": "a", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}
    cluster.put(PODS, "pod", metadata=claims, spec=on_node, status={"phase": "Running"})
    body = cluster.known.training_jobs.get("uid-of-first")
    assert body is not None
    gone = {**body["metadata"], "deletionTimestamp": CREATED, "finalizers": ["team.example/hold"]}
    cluster.put(TRAINING_JOBS, "first", spec=body["spec"], status=body["status"], metadata=without_version(gone))
    (gang,) = cluster.pools.gangs_with_nodes("vision")
    assert (gang.admitted_to, gang.nodes, gang.placed_on) == ("gpu", 1, frozenset("a"))
    cluster.known.remove(JOBS, {"metadata": {"uid": "uid-of-first-0"}})
    assert list(cluster.pools.gangs_with_nodes("vision")) == [gang], "its pods outlive its Job"
    cluster.known.remove(PODS, {"metadata": {"uid": "uid-of-pod"}})
    assert list(cluster.pools.gangs_with_nodes("vision")) == []


def without_version(metadata: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in metadata.items() if key != "resourceVersion"}


def test_a_priority_that_changes_admits_anew(cluster: Cluster) -> None:
    cluster.submit("first", nodes=2)
    cluster.put(
        TRAINING_JOBS,
        "urgent",
        spec={"compute": {"nodes": 2, "gpusPerNode": 2, "priorityClassName": "high"}},
        metadata={"creationTimestamp": "2026-03-04T11:30:00Z"},
    )
    assert cluster.pool_of("urgent") is None
    cluster.put(PRIORITY_CLASSES, "high", value=1000)
    assert cluster.pool_of("urgent") == "gpu"


def test_a_moment_that_comes_admits_anew(cluster: Cluster, computed: Mock) -> None:
    """Nothing happens, but Oracle may be asked for nodes again."""
    until = (NOW + timedelta(seconds=60)).isoformat()
    cluster.put_pool(backoff={"failures": 1, "until": until, "reason": "OutOfHostCapacity", "message": "None left."})
    cluster.submit("job")
    assert cluster.pool_of("job") is None
    cluster.now += timedelta(seconds=59)
    assert cluster.pool_of("job") is None
    assert computed.call_count == 1
    cluster.now += timedelta(seconds=1)
    assert cluster.pool_of("job") == "gpu"


def test_what_oracle_shows_admits_anew(cluster: Cluster) -> None:
    cluster.submit("job")
    cluster.pools.put_silence("uid-of-gpu", "No answer came.")
    assert cluster.pool_of("job") is None
    cluster.observe_pool()
    assert cluster.pool_of("job") == "gpu"
    cluster.pools.forget("uid-of-gpu")
    assert cluster.pool_of("job") is None


def test_an_object_that_cannot_be_read_costs_nothing_but_itself(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.submit("job")
    cluster.put(TRAINING_JOBS, "odd", spec={}, metadata={"creationTimestamp": "last week"})
    cluster.put(PODS, "odd-pod", metadata={"labels": {labels.JOB_UID_LABEL: "uid-of-job"}}, spec=None)

    assert cluster.pool_of("job") == "gpu"
    assert "vision/odd is left out" in caplog.text


def test_a_foreign_pod_takes_its_gpus_whatever_it_claims(cluster: Cluster) -> None:
    """It said that it was a pod of the very gang that asks, and its GPUs were given away a second time."""
    cluster.put(NODES, "a", spec={"providerID": "ocid1.instance.a"}, status={"allocatable": {"nvidia.com/gpu": "2"}})
    cluster.observe_pool(OkeNode("ocid1.instance.a", "a", "ACTIVE", "AD-1"))
    cluster.submit("job")
    claims = {labels.JOB_UID_LABEL: "uid-of-job"}
    holds = {"nodeName": "a", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}]}
    cluster.put(PODS, "claimed", metadata={"labels": claims}, spec=holds)
    observation = cluster.pools.observation("uid-of-gpu")
    assert observation is not None
    (body,) = cluster.known.node_pools
    (node,) = cluster.pools.context(GPUNodePool.parse(body), observation).observed.nodes

    assert node.pods is not None
    assert [(pod.gpus, pod.job_uid) for pod in node.pods] == [(2, None)]


def test_no_gang_gets_nodes_before_the_api_server_was_asked() -> None:
    cluster = Cluster(asks_first=True)
    cluster.submit("job")
    assert cluster.pool_of("job") is None
    assert cluster.pools.put_check("uid-of-job", Objection(Reason.WRITE_REFUSED, "exceeded quota: gpus"))
    capacity = cluster.pools.capacity_of("uid-of-job")
    assert capacity is not None
    assert (capacity.pool, capacity.message) == (None, "exceeded quota: gpus")
    assert cluster.pools.put_check("uid-of-job", None)
    assert not cluster.pools.put_check("uid-of-job", None), "which is no news"
    assert cluster.pool_of("job") == "gpu"
    cluster.pools.forget_check("uid-of-job")
    assert cluster.pool_of("job") is None


def test_the_labels_of_a_namespace_let_its_jobs_in_and_out(cluster: Cluster) -> None:
    cluster.put_pool({"allowedNamespaces": {"matchLabels": {"team": "a"}}})
    cluster.submit("job")
    assert cluster.pool_of("job") is None, "a namespace that is not known is not let in"
    cluster.put(NAMESPACES, "vision", metadata={"labels": {"team": "a"}})
    assert cluster.pool_of("job") == "gpu"
    cluster.put(NAMESPACES, "vision", metadata={"labels": {"team": "b"}})
    assert cluster.pool_of("job") is None


def test_jobs_of_a_namespace_that_has_spent_its_month_are_woken_and_told(cluster: Cluster) -> None:
    usage = {"name": "vision", "nodes": 1, "month": "2026-03", "amount": "100.5"}
    cluster.put_pool({"namespaceLimits": {"monthlyCost": "100"}, "hourlyPrice": "4"}, namespaces=[usage])
    cluster.submit("runs", nodePool="gpu", attempt=0, attemptUid="uid-of-runs-0")
    cluster.submit("waits")
    cluster.start("runs")
    assert list(cluster.pools.waiting_jobs()) == ["uid-of-runs"]
    assert "100 USD" in (cluster.pools.overspent("uid-of-runs") or "")
    assert cluster.pool_of("waits") is None
    cluster.now = datetime(2026, 4, 1, tzinfo=UTC)
    assert cluster.pools.overspent("uid-of-runs") is None, "a new month begins"
    assert cluster.pool_of("waits") == "gpu"
