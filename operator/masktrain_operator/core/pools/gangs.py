"""What a MaskTrainingJob asks of node pools: so many nodes with so many GPUs each, all or none."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from masktrain_operator.api import labels
from masktrain_operator.api.conditions import ConditionType
from masktrain_operator.core import jobs, pods
from masktrain_operator.core.types import Manifest

FINAL = (ConditionType.COMPLETE, ConditionType.FAILED)


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
    training_job: Manifest, batch_jobs: Iterable[Manifest], job_pods: Iterable[Manifest], priority: int
) -> Gang | None:
    """None for a job that needs no node pool any more, or that runs on nodes of none.

    Read from the plain manifest, whose defaults the API server has filled in: all jobs are looked at for each one.
    """
    metadata = training_job["metadata"]
    if "deletionTimestamp" in metadata or _is_finished(training_job):
        return None
    unfinished = [manifest for manifest in batch_jobs if not jobs.is_finished(manifest)]
    pools = [manifest["metadata"].get("labels", {}).get(labels.NODE_POOL_LABEL) for manifest in unfinished]
    if unfinished and not any(pools):
        return None
    compute = training_job["spec"].get("compute", {})
    return Gang(
        job_uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        nodes=compute.get("nodes", 1),
        gpus_per_node=compute.get("gpusPerNode", 1),
        created=datetime.fromisoformat(metadata["creationTimestamp"]),
        priority=priority,
        pool_ref=compute.get("nodePoolRef", {}).get("name"),
        node_selector=compute.get("nodeSelector", {}),
        admitted_to=next(filter(None, pools), None),
        placed_on=frozenset(node for pod in job_pods if not pods.is_terminal(pod) and (node := pods.node_name(pod))),
    )


def _is_finished(training_job: Manifest) -> bool:
    conditions = training_job.get("status", {}).get("conditions", ())
    return any(condition["type"] in FINAL and condition["status"] == "True" for condition in conditions)
