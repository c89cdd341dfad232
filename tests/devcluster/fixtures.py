"""Pytest fixtures: a control plane for tests of the API, a whole cluster for everything else.

Clusters belong to the pytest process and end with it, even when it is killed.
"""

import os
from collections.abc import Iterator

import pytest

from tests.devcluster.cluster import Cluster, ClusterSettings
from tests.devcluster.lifecycle import down, remove_abandoned, up
from tests.devcluster.machine import objection

PREFIX = "pytest-"
GPU_NODES = 2
GPUS_PER_NODE = 2


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
