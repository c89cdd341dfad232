"""Machines come, vanish and go while the cluster runs."""

import json
from typing import Any

import pytest

from devcluster.cluster import Cluster, ClusterError
from devcluster.nodes import NodeSpec
from devcluster.waiting import wait_until
from tests.devcluster.conftest import TOLERATE_GPU, Namespace, shell_pod

pytestmark = pytest.mark.cluster


def test_gpu_nodes_look_like_those_of_oke(cluster: Cluster) -> None:
    def seen() -> dict[str, Any]:
        node: dict[str, Any] = json.loads(cluster.kubectl("get", "node", "gpu-0", "--output=json"))
        return node

    wait_until(
        lambda: "not-ready" not in str(seen()["spec"]["taints"]), "gpu-0 to lose the taint of its first seconds", 30
    )
    node = seen()
    assert node["spec"]["providerID"].startswith("ocid1.instance.")
    assert node["spec"]["taints"] == [{"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}]
    assert node["metadata"]["labels"]["node.kubernetes.io/instance-type"] == "VM.GPU3.2"
    assert node["metadata"]["labels"]["oci.oraclecloud.com/fault-domain"] == "FAULT-DOMAIN-1"
    assert node["status"]["allocatable"]["nvidia.com/gpu"] == "2"


def test_pods_wait_for_gpus_that_are_taken(namespace: Namespace) -> None:
    gpus = {"resources": {"limits": {"nvidia.com/gpu": 3}}}
    namespace.apply(shell_pod("greedy", "true", gpus, tolerations=TOLERATE_GPU))
    namespace.wait("pod/greedy", "jsonpath={.status.conditions[?(@.type=='PodScheduled')].reason}=Unschedulable")
    assert "Insufficient nvidia.com/gpu" in namespace.kubectl("get", "pod", "greedy", "--output=yaml")


def test_vanished_machine_loses_its_pods_and_comes_back_empty(namespace: Namespace) -> None:
    cluster, spec = namespace.cluster, NodeSpec("lost", gpus=1)
    cluster.add_node(spec)
    soon = [{"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1} for key in LOST_TAINTS]
    namespace.apply(
        shell_pod("victim", "sleep 600", nodeSelector={"hostname": "lost"}, tolerations=[*TOLERATE_GPU, *soon])
    )
    namespace.wait_for_phase("victim", "Running")
    cluster.kill_node("lost")
    cluster.kubectl("wait", "node/lost", "--for=condition=Ready=Unknown", "--timeout=90s")
    namespace.wait("pod/victim", "jsonpath={.status.conditions[?(@.type=='DisruptionTarget')].status}=True")
    assert "deletionTimestamp" in namespace.get("pod/victim")["metadata"], "nobody confirms the end of the pod"
    cluster.remove_node("lost")
    namespace.kubectl("delete", "pod", "victim", "--force", "--grace-period=0", "--ignore-not-found")
    cluster.add_node(spec)
    cluster.remove_node("lost")


LOST_TAINTS = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")


def test_unknown_machine_is_named(cluster: Cluster) -> None:
    with pytest.raises(ClusterError, match="no node 'ghost'"):
        cluster.kill_node("ghost")
