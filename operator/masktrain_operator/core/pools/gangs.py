"""What a MaskTrainingJob asks of node pools: so many nodes with so many GPUs each, all or none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from masktrain_operator.api import labels
from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core import jobs, pods
from masktrain_operator.core.conditions import is_finished
from masktrain_operator.core.types import Manifest


@dataclass(frozen=True)
class Gang:
    job_uid: str
    namespace: str
    name: str
    nodes: int
    gpus_per_node: int
    created: datetime
    priority: int = 0
    pool_ref: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    admitted_to: str | None = None
    """The pool that its unfinished batch Job was made for; None while it waits."""
    placed_on: frozenset[str] = frozenset()
    """Nodes that hold an unfinished pod of it."""

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def turn(self) -> tuple[int, datetime, str]:
        """Gangs are served by priority, then by age; the uid makes the order total."""
        return (-self.priority, self.created, self.job_uid)


def gang_of(
    job: MaskTrainingJob, batch_jobs: Iterable[Manifest], job_pods: Iterable[Manifest], priority: int
) -> Gang | None:
    """None for a job that needs no node pool any more, or that runs on nodes of none."""
    if is_finished(job.status) or job.metadata.deletion_timestamp is not None:
        return None
    unfinished = [manifest for manifest in batch_jobs if not jobs.is_finished(manifest)]
    pools = [manifest["metadata"].get("labels", {}).get(labels.NODE_POOL_LABEL) for manifest in unfinished]
    if unfinished and not any(pools):
        return None
    compute = job.spec.compute
    return Gang(
        job_uid=job.metadata.uid,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        nodes=compute.nodes,
        gpus_per_node=compute.gpus_per_node,
        created=job.metadata.creation_timestamp,
        priority=priority,
        pool_ref=compute.node_pool_ref.name if compute.node_pool_ref else None,
        node_selector=compute.node_selector,
        admitted_to=next(filter(None, pools), None),
        placed_on=frozenset(node for pod in job_pods if not pods.is_terminal(pod) and (node := pods.node_name(pod))),
    )
