"""Attacks on the pools by pods that a team makes itself and gives to its own batch Job: the gang has more of them, or
others, than the operator made."""

from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.core.pools.oke import OkeNode
from masktrain_operator.shell.client import NODES, PODS, TRAINING_JOBS
from tests.unit.operator.shell.pools.test_pool_cache import CREATED, Cluster

GPU = "nvidia.com/gpu"


@pytest.fixture
def cluster() -> Cluster:
    """Two nodes of two GPUs, and team b's job of one GPU, which runs on the first."""
    cluster = Cluster()
    nodes = {name: OkeNode(f"ocid1.instance.{name}", name, "ACTIVE", "AD-1") for name in "ab"}
    for name in nodes:
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": CREATED}
        said = {"allocatable": {GPU: "2"}, "conditions": [ready]}
        cluster.put(NODES, name, spec={"providerID": f"ocid1.instance.{name}"}, status=said)
    entered = {"state": "Idle", "addedByOperator": True, "createdTime": CREATED, "joinedTime": CREATED}
    entries = [{"instanceId": f"ocid1.instance.{name}", "name": name, **entered} for name in nodes]
    cluster.put_pool(nodes=entries)
    cluster.observe_pool(*nodes.values())
    submit(cluster, "theirs", gpus=1, nodePool="gpu", attempt=0, attemptUid="uid-of-theirs-0")
    cluster.start("theirs")
    add_pod(cluster, "real", node="a", gpus=1)
    return cluster


def submit(cluster: Cluster, name: str, *, gpus: int, **status: Any) -> None:
    cluster.put(TRAINING_JOBS, name, spec={"compute": {"nodes": 1, "gpusPerNode": gpus}}, status=status)


def add_pod(cluster: Cluster, name: str, *, node: str, gpus: int) -> None:
    """Controlled by their batch Job, as whoever may create pods in its namespace can say."""
    owner = {"uid": "uid-of-theirs-0", "controller": True}
    claims = {"labels": {labels.JOB_UID_LABEL: "uid-of-theirs"}, "ownerReferences": [owner]}
    limits = {"resources": {"limits": {GPU: str(gpus)}}} if gpus else {}
    spec = {"nodeName": node, "containers": [{"name": "c", **limits}]}
    cluster.put(PODS, name, metadata=claims, spec=spec, status={"phase": "Running"})


def free_gpus(cluster: Cluster) -> dict[str, int]:
    """What the largest gang on one node could have, after all that are at work."""
    names: dict[str, int] = {}
    for gpus in (1, 2):
        submit(cluster, "probe", gpus=gpus)
        capacity = cluster.pools.capacity_of("uid-of-probe")
        assert capacity is not None
        placement = cluster.pools.admissions().placements.get("uid-of-probe")
        names |= dict.fromkeys(placement.node_names if placement else (), gpus)
    return names


def test_a_gang_that_the_operator_made_takes_what_it_asked_for(cluster: Cluster) -> None:
    assert free_gpus(cluster) == {"a": 1, "b": 2}


def test_pods_without_gpus_keep_nobody_from_a_pool(cluster: Cluster) -> None:
    """Attack: pods that sleep, one on each node of the pool. Each counted as a rank of the gang, with its GPUs."""
    for node in "ab":
        add_pod(cluster, f"sleeps-{node}", node=node, gpus=0)
    assert free_gpus(cluster) == {"a": 1, "b": 2}


def test_gpus_that_more_pods_of_a_gang_have_are_given_to_nobody(cluster: Cluster) -> None:
    """Attack: pods of a gang with more GPUs than it says. Others were admitted to them, waited, and failed for it."""
    add_pod(cluster, "greedy", node="b", gpus=2)
    assert free_gpus(cluster) == {"a": 1}
    add_pod(cluster, "second", node="a", gpus=1)
    assert free_gpus(cluster) == {}


def test_gpus_of_pods_that_outlive_their_attempt_are_given_to_nobody(cluster: Cluster) -> None:
    """Attack: an attempt whose pods take an hour to end. Others were admitted to their GPUs at once."""
    add_pod(cluster, "real", node="a", gpus=2)
    submit(cluster, "theirs", gpus=2, nodePool="gpu", attempt=0, attemptUid="uid-of-theirs-0")
    for job in list(cluster.known.jobs):
        cluster.known.jobs.remove(job["metadata"]["uid"])
    assert free_gpus(cluster) == {"b": 2}
