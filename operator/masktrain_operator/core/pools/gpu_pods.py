"""Which pods hold GPUs: what keeps a node, whoever's pods they are."""

from collections.abc import Iterator
from dataclasses import dataclass

from masktrain_operator.api import labels
from masktrain_operator.core.types import Manifest

GPU_RESOURCES = ("nvidia.com/gpu", "amd.com/gpu")
SLICED_GPU_PREFIX = "nvidia.com/mig-"
FINISHED_PHASES = ("Succeeded", "Failed")


@dataclass(frozen=True)
class GpuPod:
    """An unfinished pod that asks for GPUs, bound to a node. `job_uid`: of the MaskTrainingJob it works for, if any."""

    namespace: str
    name: str
    uid: str
    node: str
    gpus: int
    job_uid: str | None = None


def gpu_pod(pod: Manifest) -> GpuPod | None:
    """None for pods that are finished, bound to no node, or ask for no GPU."""
    spec, metadata = pod["spec"], pod["metadata"]
    gpus = gpus_requested(spec)
    if pod.get("status", {}).get("phase") in FINISHED_PHASES or not spec.get("nodeName") or gpus == 0:
        return None
    owner = metadata.get("labels", {}).get(labels.JOB_UID_LABEL)
    return GpuPod(metadata["namespace"], metadata["name"], metadata["uid"], spec["nodeName"], gpus, owner)


def gpus_requested(spec: Manifest) -> int:
    """Init containers run before the others, sidecars aside, so the larger of both counts.

    A slice or a resource claim may be part of any GPU: it counts as one.
    """
    together = sum(map(_of_container, spec.get("containers", ())))
    first = max(map(_of_container, spec.get("initContainers", ())), default=0)
    return max(together, first, 1 if spec.get("resourceClaims") else 0)


def _of_container(container: Manifest) -> int:
    return sum(_amounts(container.get("resources", {})))


def _amounts(resources: Manifest) -> Iterator[int]:
    """Extended resources are whole numbers, and their requests equal their limits."""
    for name, amount in {**resources.get("requests", {}), **resources.get("limits", {})}.items():
        if name in GPU_RESOURCES:
            yield int(amount)
        elif name.startswith(SLICED_GPU_PREFIX) and int(amount):
            yield 1
