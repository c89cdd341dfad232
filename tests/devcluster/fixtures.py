"""Pytest fixtures: a control plane for tests of the API, a whole cluster for everything else, a fake Oracle cloud.

Clusters belong to the pytest process and end with it, even when it is killed. The fake's clock is one that the test
moves.
"""

import os
from collections.abc import Iterator

import pytest

from devcluster.cluster import Cluster, ClusterSettings
from devcluster.lifecycle import down, objection, remove_abandoned, up
from devcluster.oracle.clock import FakeClock
from devcluster.oracle.pools import PoolSettings
from devcluster.oracle.running import FakeOci, running
from devcluster.oracle.signing import Credentials

PREFIX = "pytest-"
GPU_NODES = 2
GPUS_PER_NODE = 2
POOL = PoolSettings(id="ocid1.nodepool.oc1.iad.fakegpupool")


@pytest.fixture(scope="session")
def control_plane() -> Iterator[Cluster]:
    """etcd and kube-apiserver alone, up in seconds: no controllers, no nodes, no object store."""
    yield from _running("api", ClusterSettings(control_plane_only=True, owner=os.getpid()))


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A whole cluster: node `cpu-0`, GPU nodes `gpu-0` and `gpu-1` with two GPUs each, and the object store."""
    yield from _running("full", ClusterSettings.with_gpu_nodes(GPU_NODES, GPUS_PER_NODE, owner=os.getpid()))


def require_machine() -> None:
    """Skip the test on a machine that cannot run clusters; in CI that is a failure instead."""
    refusal = objection()
    if refusal is None:
        return
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(refusal)
    pytest.skip(refusal)


def _running(kind: str, settings: ClusterSettings) -> Iterator[Cluster]:
    require_machine()
    remove_abandoned(PREFIX)
    name = f"{PREFIX}{kind}-{os.getpid()}"
    try:
        yield up(name, settings)
    finally:
        down(name)


@pytest.fixture(scope="session")
def oci_credentials() -> Credentials:
    """One key for all tests: drawing it takes a tenth of a second."""
    return Credentials.create()


@pytest.fixture
def fake_oci(oci_credentials: Credentials) -> Iterator[FakeOci[FakeClock]]:
    """One empty pool of VM.GPU3.2, `POOL`; `control.add_pool` makes more."""
    with running((POOL,), FakeClock(), oci_credentials) as fake:
        yield fake
