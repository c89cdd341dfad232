"""What is asked of the fake Oracle Cloud becomes machines of the cluster, and ends them."""

import json
from collections.abc import Iterator
from typing import Any

import oci
import pytest

from devcluster.cloud import Cloud, CloudSettings, start_cloud
from devcluster.cluster import Cluster
from devcluster.oracle.pools import PoolSettings
from devcluster.waiting import wait_until

pytestmark = pytest.mark.cluster

POOL = PoolSettings(id="ocid1.nodepool.oc1.iad.gpupool", gpus=2, boot_seconds=1, delete_seconds=1)


@pytest.fixture
def cloud(cluster: Cluster) -> Iterator[Cloud]:
    cloud = start_cloud(cluster, CloudSettings(pools=(POOL,)))
    yield cloud
    cloud.stop()


@pytest.fixture
def engine(cloud: Cloud) -> Iterator[Any]:
    client = oci.container_engine.ContainerEngineClient(cloud.sdk_config, service_endpoint=cloud.endpoint)
    yield client
    client.base_client.session.close()


def test_a_node_pool_brings_a_machine_and_takes_it_away(cluster: Cluster, cloud: Cloud, engine: Any) -> None:
    models = oci.container_engine.models
    size = models.UpdateNodePoolNodeConfigDetails(size=1)
    engine.update_node_pool(POOL.id, models.UpdateNodePoolDetails(node_config_details=size))
    wait_until(lambda: _active(engine), "the node to become active", seconds=60)
    (node,) = engine.get_node_pool(POOL.id).data.nodes

    cluster.kubectl("wait", "--for=create", f"node/{node.name}", "--timeout=60s")
    cluster.kubectl("wait", "--for=condition=Ready", f"node/{node.name}", "--timeout=60s")
    cluster.kubectl(
        "wait", r"--for=jsonpath={.metadata.annotations.oci\.oraclecloud\.com/node-pool-id}", f"node/{node.name}"
    )
    seen = json.loads(cluster.kubectl("get", "node", node.name, "--output=json"))
    assert seen["spec"]["providerID"] == node.id
    assert seen["metadata"]["annotations"]["oci.oraclecloud.com/node-pool-id"] == POOL.id
    assert seen["metadata"]["labels"]["topology.kubernetes.io/zone"] == "US-ASHBURN-AD-1"
    cluster.kubectl(
        "wait", r"--for=jsonpath={.status.allocatable.nvidia\.com/gpu}=2", f"node/{node.name}", "--timeout=60s"
    )

    engine.delete_node(
        POOL.id,
        node.id,
        is_decrement_size=True,
        override_eviction_grace_duration="PT0M",
        is_force_deletion_after_override_grace_duration=True,
    )
    cluster.kubectl("wait", "--for=delete", f"node/{node.name}", "--timeout=60s")
    assert node.name not in cluster.nodes.names()
    (entry,) = cloud.ledger().entries()
    assert entry.time_terminated is not None
    assert not cloud.log().violations


def _active(engine: Any) -> bool:
    return [node.lifecycle_state for node in engine.get_node_pool(POOL.id).data.nodes] == ["ACTIVE"]
