"""Gangs: the jobs that wait for nodes of a pool or hold some, as admission sees them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from masktrain_operator.api import labels
from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.core import jobs, pods
from masktrain_operator.core.resources import amount
from masktrain_operator.core.times import parse_time
from masktrain_operator.core.types import Manifest

from .pools.nodes import GPU_RESOURCES, gpus_requested

FINAL = (ConditionType.COMPLETE, ConditionType.FAILED)
STORAGE = "ephemeral-storage"


@dataclass(frozen=True)
class Objection:
    """Why a gang may not start: one of the operator's reasons, and a sentence."""

    reason: Reason
    message: str


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
    gpu_resource: str = GPU_RESOURCES[0]
    storage: Decimal = Decimal(0)
    """Bytes of ephemeral storage that each of its pods asks for."""
    admitted_to: str | None = None
    """The pool that admission gave its unfinished batch Job to; None while it waits."""
    placed_on: frozenset[str] = frozenset()
    """Nodes that hold an unfinished pod of it, with the GPUs of a rank."""
    namespace_labels: Mapping[str, str] | None = field(default_factory=dict)
    """None while the namespace is not known."""
    priority_class: str | None = None
    is_deleted: bool = False
    """Whether it only holds what its pods stand on until they have ended."""
    objection: Objection | None = None
    """Why the API server would not take its pods, or has not been asked yet."""

    @property
    def stands_already(self) -> bool:
        """Whether it waits although pods of it have GPUs.

        Of a batch Job that admission knows nothing of, or of an attempt that ended.
        """
        return self.admitted_to is None and bool(self.placed_on)

    @property
    def title(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def turn(self) -> tuple[int, datetime, str]:
        """Gangs are served by priority, then by age; the uid makes the order total."""
        return (-self.priority, self.created, self.job_uid)


def gang_of(
    training_job: Manifest,
    batch_jobs: Iterable[Manifest],
    job_pods: Iterable[Manifest],
    priority: int,
    *,
    namespace_labels: Mapping[str, str] | None = None,
    objection: Objection | None = None,
    placed_in: str | None = None,
) -> Gang | None:
    """None for a job that needs no node pool any more, or that runs on nodes of none.

    `placed_in`: the pool that admission gave it last, which the status does not say yet when its Job was just created.

    One that is being deleted holds the nodes that its pods stand on, for as long as they do, and asks for no other.

    Read from the plain manifest, whose defaults the API server has filled in: all jobs are looked at for each one.
    """
    metadata = training_job["metadata"]
    if has_ended(training_job):
        return None
    unfinished = [manifest for manifest in batch_jobs if not jobs.is_over(manifest)]
    status = training_job.get("status", {})
    said = [(pool, manifest) for manifest in unfinished if (pool := _pool_of(manifest))]
    if unfinished and not said:
        return None
    proven = (pool for pool, manifest in said if pool == placed_in or _is_admitted(manifest, pool, status))
    admitted_to = next(proven, None)
    placed_on = _placed_on(job_pods, training_job["spec"].get("compute", {}))
    is_deleted = "deletionTimestamp" in metadata
    if is_deleted:
        # Its pods may outlive its Job.
        admitted_to = admitted_to or status.get("nodePool")
        if not placed_on or admitted_to is None:
            return None
    compute = training_job["spec"].get("compute", {})
    return Gang(
        job_uid=metadata["uid"],
        namespace=metadata["namespace"],
        name=metadata["name"],
        nodes=len(placed_on) if is_deleted else compute.get("nodes", 1),
        gpus_per_node=compute.get("gpusPerNode", 1),
        created=parse_time(metadata["creationTimestamp"]),
        priority=priority,
        pool_ref=compute.get("nodePoolRef", {}).get("name"),
        node_selector=compute.get("nodeSelector", {}),
        gpu_resource=compute.get("gpuResource", GPU_RESOURCES[0]),
        storage=_storage(compute),
        admitted_to=admitted_to,
        placed_on=placed_on,
        namespace_labels=namespace_labels,
        priority_class=compute.get("priorityClassName"),
        is_deleted=is_deleted,
        objection=objection,
    )


def _storage(compute: Manifest) -> Decimal:
    """What its user has written is checked elsewhere: what is no quantity asks for nothing."""
    try:
        return amount(compute.get("resources", {}).get("requests", {}).get(STORAGE, 0))
    except ValueError:
        return Decimal(0)


def _placed_on(job_pods: Iterable[Manifest], compute: Manifest) -> frozenset[str]:
    """Nodes of its unfinished pods, at most as many as it has ranks.

    Whoever may create pods makes more of them, anywhere and with an owner reference to his own batch Job: what does not
    ask for the GPUs of a rank stands on nothing.
    """
    resource, each = compute.get("gpuResource", GPU_RESOURCES[0]), compute.get("gpusPerNode", 1)
    least = gpus_requested({"containers": [{"resources": {"limits": {resource: each}}}]})
    asking = (pod for pod in job_pods if not pods.is_terminal(pod) and 0 < least <= gpus_requested(pod.get("spec", {})))
    return frozenset(sorted({node for pod in asking if (node := pods.node_name(pod))})[: compute.get("nodes", 1)])


def _pool_of(manifest: Manifest) -> str | None:
    """Which a batch Job says it was made for."""
    pool: str | None = manifest["metadata"].get("labels", {}).get(labels.NODE_POOL_LABEL)
    return pool


def _is_admitted(batch_job: Manifest, pool: str, status: Manifest) -> bool:
    """Whether the status, which only the operator writes, names that Job and its pool.

    Labels and owner references prove nothing: whoever may create Jobs writes them. The uid is in the status one look
    after the number of the attempt.
    """
    if status.get("nodePool") != pool:
        return False
    uid = status.get("attemptUid")
    if uid is None:
        return jobs.attempt_number(batch_job) == status.get("attempt")
    return bool(batch_job["metadata"]["uid"] == uid)


def has_ended(training_job: Manifest) -> bool:
    """Whether a MaskTrainingJob is Complete or Failed, for good: it asks for no node any more."""
    status = training_job.get("status", {})
    conditions = status.get("conditions", ())
    return bool(status.get("completionTime")) or any(
        condition.get("type") in FINAL and condition.get("status") == "True" for condition in conditions
    )
