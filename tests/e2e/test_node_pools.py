"""Nodes come for jobs and go after them: zero, as many as needed, zero, and a bill that is right to the second."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from devcluster.cloud import Cloud, CloudSettings, start_cloud
from devcluster.cluster import Cluster, ClusterError
from devcluster.install import OPERATOR_NAMESPACE, ORACLE_KEY_SECRET, RELEASE, apply, provide_oracle_key
from devcluster.oracle.pools import PoolSettings
from devcluster.waiting import wait_until
from tests.devcluster.conftest import shell_pod
from tests.e2e.conftest import CPU_ONLY, HANGS_AFTER_SECONDS, Jobs

pytestmark = pytest.mark.e2e

POOL = "e2e"
SETTINGS = PoolSettings(
    id="ocid1.nodepool.oc1.iad.e2e", shape="VM.GPU3.2", gpus=2, boot_seconds=1, delete_seconds=1, preemptible=True
)
IDLE_SECONDS = 8
SLACK_SECONDS = 60
"""On a machine that is busy with other tests. Polls of a pool come every 150 s, resyncs every 300 s."""
HOURLY_PRICE = Decimal("36.00")
"""So high that a second costs a cent, and rounding hides nothing."""
ON_POOL = {"nodes": 2, "gpusPerNode": 2, "env": CPU_ONLY, "nodePoolRef": {"name": POOL}}


class Pool:
    """The node pool as kubectl and the cloud's own books show it."""

    def __init__(self, cluster: Cluster, cloud: Cloud) -> None:
        self.cluster = cluster
        self.cloud = cloud

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = json.loads(self.cluster.kubectl("get", "gnp", POOL, "--output=json")).get("status", {})
        return status

    def nodes(self) -> list[str]:
        selector = f"masktrain.dev/node-pool={POOL}"
        listed = self.cluster.kubectl("get", "nodes", "--selector", selector, "--output", "name")
        return [line.removeprefix("node/") for line in listed.split()]

    def running(self) -> int:
        return sum(entry.time_terminated is None for entry in self.cloud.ledger().entries())

    def wait_for_size(self, size: int) -> None:
        wait_until(lambda: len(self.status.get("nodes", [])) == size, f"{size} nodes in {POOL}", HANGS_AFTER_SECONDS)

    def events(self) -> set[str]:
        listed = self.cluster.kubectl("events", "--namespace=default", "--for", f"gnp/{POOL}", "--output=json")
        return {event["reason"] for event in json.loads(listed)["items"]}


@pytest.fixture(scope="module")
def pool(jobs: Jobs) -> Iterator[Pool]:
    cluster = jobs.cluster
    cloud = start_cloud(cluster, CloudSettings((SETTINGS,)))
    provide_oracle_key(cluster, cloud)
    spec = {
        "nodePoolId": SETTINGS.id,
        "region": "us-ashburn-1",
        "maxNodes": 2,
        "idleSeconds": IDLE_SECONDS,
        "minimumBilledSeconds": 0,
        "hourlyPrice": str(HOURLY_PRICE),
        "scaleDown": {"drainSeconds": 0},
        "auth": {"type": "ConfigSecret", "configSecretRef": {"name": ORACLE_KEY_SECRET}},
    }
    apply(
        cluster,
        {"apiVersion": "masktrain.dev/v1alpha1", "kind": "GPUNodePool", "metadata": {"name": POOL}, "spec": spec},
    )
    yield Pool(cluster, cloud)
    cluster.kubectl("delete", "gnp", POOL, f"--timeout={HANGS_AFTER_SECONDS}s")
    cloud.stop()


def test_the_chart_tests_itself_by_the_doctor_in_a_pod(pool: Pool) -> None:
    """This cluster has its plugin inside its machines, and no Object Storage: nothing else is at fault."""
    namespace = ("--namespace", OPERATOR_NAMESPACE)
    with pytest.raises(ClusterError, match=f"pod {RELEASE}-doctor failed"):
        pool.cluster.helm("test", RELEASE, *namespace)
    said = pool.cluster.kubectl("logs", *namespace, f"{RELEASE}-doctor")
    rows = [line.split(maxsplit=1) for line in said.splitlines()]
    found = {level: [row[1] for row in rows if len(row) == 2 and row[0] == level] for level in ("ok", "fault")}
    assert [row.partition(":")[0] for row in found["fault"]] == ["device plugin", "object storage"], said
    checked = {row.partition(":")[0] for row in found["ok"]}
    assert {"cluster", "sign-in", "boot volume", "availability domains", "prices", "clocks"} <= checked, said


def test_nodes_come_for_a_job_and_go_after_it(jobs: Jobs, pool: Pool) -> None:
    jobs.apply("first", compute=ON_POOL)
    jobs.wait("first", "condition=Complete")
    assert pool.running() == 2
    assert "USD" in jobs.condition("first", "Complete")["message"]
    assert {"WaitingForNodes", "AttemptStarted", "Complete"} <= jobs.events("first").keys()
    pool.wait_for_size(0)
    assert pool.running() == 0
    assert pool.nodes() == []
    assert {"ScalingUp", "NodeAdded", "NodeRemoved", "NodeGone"} <= pool.events()
    ended = max(entry.time_terminated or 0 for entry in pool.cloud.ledger().entries())
    completed = datetime.fromisoformat(jobs.status("first")["completionTime"]).timestamp()
    assert ended - completed < IDLE_SECONDS + SLACK_SECONDS, "nodes went at a resync, not when they became idle"
    status = pool.status
    assert (status["size"], status["addedNodes"]) == (0, 0)
    now = datetime.now(UTC).timestamp()
    # An agreed price is what is paid; the cloud's books halve the list price of what it may reclaim.
    ledger = 2 * Decimal(str(pool.cloud.ledger().cost(float(HOURLY_PRICE), 0, now)))
    assert abs(Decimal(status["cost"]["amount"]) - ledger) <= ledger / 100
    assert Decimal(jobs.status("first")["cost"]["amount"]) <= Decimal(status["cost"]["amount"])
    assert not pool.cloud.log().violations


def test_two_gangs_share_a_pool_and_never_hold_half_of_it(jobs: Jobs, pool: Pool) -> None:
    before = len(pool.cloud.ledger().entries())
    jobs.apply("one", compute=ON_POOL)
    jobs.apply("two", compute=ON_POOL)
    for name in ("one", "two"):
        jobs.wait(name, "condition=Complete")
    # Both may have been created in the same second: then their uids decide.
    assert sum("WaitingForCapacity" in jobs.events(name) for name in ("one", "two")) == 1
    assert len(pool.cloud.ledger().entries()) - before == 2, "the second job did not find the nodes of the first"
    for name in ("one", "two"):
        assert jobs.status(name)["restarts"]["total"] == 0
    pool.wait_for_size(0)


def test_a_pod_of_others_keeps_its_node(jobs: Jobs, pool: Pool) -> None:
    jobs.apply("guest", compute=ON_POOL | {"gpusPerNode": 1}, training={"epochs": 3, "batchSize": 8, "imageSize": 96})
    jobs.wait("guest", "jsonpath={.status.state}=Running")
    gpu = {"resources": {"limits": {"nvidia.com/gpu": 1}}}
    selector = {"masktrain.dev/node-pool": POOL}
    foreign = shell_pod("foreign", "sleep 600", gpu, tolerations=[{"operator": "Exists"}], nodeSelector=selector)
    pool.cluster.kubectl("apply", "--namespace=default", "--filename=-", text=json.dumps(foreign))
    pool.cluster.kubectl(
        "wait", "--namespace=default", "--for=condition=Ready", "pod/foreign", f"--timeout={HANGS_AFTER_SECONDS}s"
    )
    node = pool.cluster.kubectl("get", "pod", "foreign", "--namespace=default", "--output=jsonpath={.spec.nodeName}")
    jobs.wait("guest", "condition=Complete")
    pool.wait_for_size(1)
    assert pool.nodes() == [node]
    assert "unschedulable" not in json.loads(pool.cluster.kubectl("get", "node", node, "--output=json"))["spec"]
    pool.cluster.kubectl("delete", "pod", "foreign", "--namespace=default", "--grace-period=0", "--force")
    pool.wait_for_size(0)


def test_a_node_that_oracle_takes_is_replaced_and_the_job_completes(jobs: Jobs, pool: Pool) -> None:
    jobs.apply("robbed", compute=ON_POOL | {"gpusPerNode": 1}, training={"epochs": 12, "batchSize": 8, "imageSize": 96})
    jobs.wait("robbed", "jsonpath={.status.checkpoints.last.uri}")
    victim = pool.status["nodes"][0]["instanceId"]
    pool.cloud.control("reclaim", instance_id=victim)
    jobs.wait("robbed", "jsonpath={.status.attempt}=1")
    jobs.wait("robbed", "condition=Complete")
    status = jobs.status("robbed")
    assert status["restarts"]["lastFailure"]["kind"] == "Preempted"
    assert "ResumedFromCheckpoint" in jobs.events("robbed")
    pool.wait_for_size(0)
    assert pool.running() == 0, "the replacement stayed"
