"""How many GPUs a pod asks for and a Node offers, whatever way the API server writes it."""

from typing import Any

import pytest

from masktrain_operator.core.pools.nodes import MOST_GPUS_COUNTED, count_of, gpu_pod, gpus_requested, kube_node
from masktrain_operator.shell.caches import KnownObjects


@pytest.mark.parametrize(
    ("written", "count"),
    [
        ("8", 8),
        (8, 8),
        ("1k", 1000),
        ("2e0", 2),
        ("1500m", 2),
        ("1Ki", 1024),
        ("-1", 0),
        ("1e999999999", MOST_GPUS_COUNTED),
        ("9" * 5000, MOST_GPUS_COUNTED),
        ("NaN", 7),
        ("", 7),
        ("many", 7),
        (None, 7),
    ],
)
def test_a_quantity_is_a_number_however_it_is_written(written: object, count: int) -> None:
    assert count_of(written, unreadable=7) == count


def test_what_a_pod_asks_for_cannot_stop_whoever_reads_it() -> None:
    """The API server itself writes 1000 as 1k: one such pod stopped the planning of every pool."""
    limits = {"nvidia.com/gpu": "1k", "nvidia.com/mig-1g.5gb": "x", "cpu": "1"}
    spec = {"nodeName": "n", "containers": [{"resources": {"limits": limits}}]}
    metadata = {"namespace": "theirs", "name": "pod", "uid": "u", "labels": {"masktrain.dev/job-uid": "victim"}}
    found = gpu_pod({"metadata": metadata, "spec": spec})

    assert gpus_requested(spec) == 1001
    assert found is not None
    assert found.job_uid is None, "a label says nothing"


def test_a_node_that_offers_nonsense_offers_nothing() -> None:
    metadata = {"name": "n", "uid": "u", "resourceVersion": "1", "creationTimestamp": "2026-03-04T11:00:00Z"}
    allocatable: dict[str, Any] = {"nvidia.com/gpu": "some", "amd.com/gpu": "2"}

    assert kube_node({"metadata": metadata, "status": {"allocatable": allocatable}}, ()).gpus == 2


def test_sidecars_add_up_and_other_init_containers_do_not() -> None:
    one: dict[str, Any] = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    sidecar = {**one, "restartPolicy": "Always"}

    assert gpus_requested({"containers": [one], "initContainers": [one, one]}) == 1
    assert gpus_requested({"containers": [one], "initContainers": [sidecar, sidecar]}) == 3
    assert gpus_requested({"containers": [], "initContainers": [sidecar, one]}) == 2


CLAIMS: dict[str, Any] = {"resourceClaims": [{"name": "gpu", "resourceClaimName": "none"}]}
ONE_GPU: dict[str, Any] = {"containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]}
HOLDERS = {
    "runs, with a claim": (CLAIMS, "Running", 1),
    "waits for its claim": (CLAIMS, "Pending", 0),
    "was never seen by a kubelet": (CLAIMS, None, 0),
    "has ended, with a claim": (CLAIMS, "Succeeded", 0),
    "waits for its GPU": (ONE_GPU, "Pending", 1),
    "waits for a GPU and a claim": (ONE_GPU | CLAIMS, "Pending", 1),
    "runs, with a GPU and a claim": (ONE_GPU | CLAIMS, "Running", 1),
    "asks for nothing": ({}, "Running", 0),
}


@pytest.mark.parametrize(("spec", "phase", "gpus"), HOLDERS.values(), ids=HOLDERS)
def test_a_claim_counts_once_a_kubelet_has_met_it(spec: dict[str, Any], phase: str | None, gpus: int) -> None:
    """Whoever may create pods may name any node and any claim: such a pod never starts, and kept the node for ever."""
    metadata = {"namespace": "n", "name": "p", "uid": "u", "resourceVersion": "1"}
    status = {} if phase is None else {"phase": phase}
    pod = {"metadata": metadata, "spec": {"containers": [], "nodeName": "gpu-0", **spec}, "status": status}

    for seen in (pod, KnownObjects().pods.slim(pod)):
        found = gpu_pod(seen)
        assert (0 if found is None else found.gpus) == gpus
