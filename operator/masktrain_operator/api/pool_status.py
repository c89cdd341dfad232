"""The status of a GPUNodePool: its nodes, what they cost, and what Oracle last said.

Some of it is memory that a restarted operator goes on from: which nodes it added, what it was about to ask for, when it
may ask again after a failure.
"""

from enum import StrEnum
from typing import Annotated

from pydantic import BeforeValidator, Field

from .status import Condition, MicroTime, Money, Name, Sentence, StatusModel, Time


class PoolConditionType(StrEnum):
    REACHABLE = "Reachable"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    PAUSED = "Paused"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    WRITE_REFUSED = "WriteRefused"
    NAMESPACES_RESTRICTED = "NamespacesRestricted"
    SHAPE_SUPPORTED = "ShapeSupported"


class PoolReason(StrEnum):
    # Reachable
    ANSWERED = "Answered"
    # CapacityAvailable
    CAPACITY_FOUND = "CapacityFound"
    OUT_OF_HOST_CAPACITY = "OutOfHostCapacity"
    LIMIT_EXCEEDED = "LimitExceeded"
    PROVISIONING_TIMEOUT = "ProvisioningTimeout"
    PROVISIONING_FAILED = "ProvisioningFailed"
    GROWTH_REFUSED = "GrowthRefused"
    NODES_UNUSABLE = "NodesUnusable"
    # Paused
    PAUSED = "Paused"
    MAINTENANCE = "Maintenance"
    NOT_PAUSED = "NotPaused"
    # Reconciling
    GROWING = "Growing"
    SHRINKING = "Shrinking"
    SETTLED = "Settled"
    # Stalled
    NEEDS_ATTENTION = "NeedsAttention"
    UNKNOWN_SHAPE = "UnknownShape"
    INVALID_SPEC = "InvalidSpec"
    CHANGES_REFUSED = "ChangesRefused"
    REMOVAL_REFUSED = "RemovalRefused"
    REMOVAL_STUCK = "RemovalStuck"
    INSTANCE_UNLISTED = "InstanceUnlisted"
    UNSTALLED = "Unstalled"
    # NamespacesRestricted
    SELECTED_NAMESPACES = "SelectedNamespaces"
    ALL_NAMESPACES = "AllNamespaces"
    # ShapeSupported; the second one also in Stalled
    IMAGE_RUNS = "ImageRuns"
    SHAPE_NOT_SUPPORTED = "ShapeNotSupported"
    SHAPE_NOT_CHECKED = "ShapeNotChecked"
    # WriteRefused
    WRITE_REFUSED = "WriteRefused"
    ACCEPTED = "Accepted"


class NodeState(StrEnum):
    BOOTING = "Booting"
    """The instance is paid for; Kubernetes does not know the node, or not its GPUs."""
    BUSY = "Busy"
    IDLE = "Idle"
    DRAINING = "Draining"
    """Cordoned, to be looked at once more before it is removed."""
    DELETING = "Deleting"
    LOST = "Lost"
    """Kubernetes knew the node and has not heard from it for a while."""
    FAILED = "Failed"
    """Oracle calls it broken, or it lacks what jobs need: nobody is put there, and it is removed."""


def _known_state(state: object) -> object:
    """A node in a state of another version is taken to be busy, so that it stays until it has been looked at."""
    return NodeState.BUSY if isinstance(state, str) and state not in set(NodeState) else state


class RemovalRefusal(StatusModel):
    """Oracle does not accept a removal, and waiting does not cure that."""

    time: Time = Field(description="When it was asked last.")
    message: Sentence = Field(description="What Oracle said.")


class PoolNodeStatus(StatusModel):
    instance_id: Name = Field(description="OCID of the Compute instance.")
    name: Name | None = Field(default=None, description="Name of the Kubernetes Node, once it has joined.")
    state: Annotated[NodeState, BeforeValidator(_known_state)] = Field(description="What the node is doing.")
    added_by_operator: bool = Field(description="Only such nodes are ever removed.")
    created_time: MicroTime = Field(description="When billing began: the instance's creation.")
    joined_time: Time | None = Field(default=None, description="When the node was first ready with its GPUs.")
    idle_since: Time | None = Field(default=None, description="Since when no pod on it asks for a GPU.")
    paid_until: Time | None = Field(default=None, description="End of the minimum that is billed anyway.")
    busy_since: Time | None = Field(default=None, description="Since when a pod on it has a GPU.")
    busy_seconds: int = Field(default=0, ge=0, description="Earlier busy time.")
    cost: Money | None = Field(default=None, description="USD so far.")
    namespaces: list[Name] = Field(
        default=[], max_length=64, description="Those that it is charged to: the last ones that it was held for."
    )
    charged_until: MicroTime | None = Field(default=None, description="Up to here its cost is charged to namespaces.")
    removal_requested_time: Time | None = Field(default=None, description="When Oracle was last asked to terminate it.")
    work_request_id: Name | None = Field(default=None, description="Oracle's handle on that.")
    removal_tries: int = Field(default=0, ge=0, description="How often Oracle was asked.")
    removal_refusal: RemovalRefusal | None = Field(default=None, description="Why Oracle did not accept it.")
    doomed_time: Time | None = Field(
        default=None, description="Since when Oracle terminates it: such a node is never used again."
    )
    unlisted_time: Time | None = Field(
        default=None, description="Since when Oracle's node pool does not list the instance although it may run."
    )
    failure: Sentence | None = Field(default=None, description="Why no job is put there.")
    given_up_time: Time | None = Field(default=None, description="When it had not joined in time.")


class ScaleUp(StatusModel):
    """What is to be asked for, written down before asking, so that nothing is asked for twice."""

    size: int = Field(ge=0, description="The absolute size.")
    adds: int = Field(ge=1, description="Nodes that this adds.")
    requested_time: Time = Field(description="When it was decided.")


class Backoff(StatusModel):
    """After Oracle had no capacity, nothing is asked for until this is over."""

    failures: int = Field(ge=1, description="Failures in a row.")
    until: Time = Field(description="When the pool may ask again.")
    reason: Name = Field(description="One CamelCase word for programs.")
    message: Sentence = Field(description="What Oracle said, and in which availability domain.")


class FailedBoots(StatusModel):
    """Nodes in a row that were paid for and never came to work."""

    count: int = Field(ge=1, description="How many.")
    amount: Money = Field(default="0.0000", description="USD that they had cost when they were given up.")


class RefusedChanges(StatusModel):
    """Oracle takes no change of the pool, for a reason that may pass."""

    since: Time = Field(description="When the first one was refused.")
    message: Sentence = Field(description="What Oracle said last.")


class LastError(StatusModel):
    code: Name = Field(description="Oracle's code.")
    message: Sentence = Field(description="Oracle's sentence.")
    request_id: Name | None = Field(default=None, description="What Oracle's support asks for.")
    time: Time = Field(description="When it was seen.")


class PoolCost(StatusModel):
    """USD since the pool is managed; `amount` and `idleAmount` contain the nodes that are still there."""

    amount: Money = Field(default="0.0000", description="All of it.")
    idle_amount: Money = Field(default="0.0000", description="The part in which no pod had a GPU.")
    gpu_seconds: int = Field(default=0, ge=0, description="GPU seconds paid for.")
    settled_amount: Money = Field(default="0.0000", description="Of nodes that are gone.")
    settled_idle_amount: Money = Field(default="0.0000", description="Of nodes that are gone, idle.")
    settled_gpu_seconds: int = Field(default=0, ge=0, description="Of nodes that are gone.")
    currency: Name = Field(default="USD", description="Of all amounts.")


class NamespaceUsage(StatusModel):
    """What a namespace has of the pool: memory that outlives its jobs."""

    name: Name = Field(description="Name of the namespace.")
    nodes: int = Field(default=0, ge=0, description="Nodes charged to it, coming ones included.")
    month: str = Field(max_length=7, pattern=r"^[0-9]{4}-[0-9]{2}$", description="The calendar month of amount, UTC.")
    amount: Money = Field(default="0.000000", description="USD of that month; a node's minimum counts at its start.")


class GPUNodePoolStatus(StatusModel):
    observed_generation: int | None = Field(default=None, ge=0, description="Generation of the spec last acted on.")
    conditions: list[Condition] = Field(
        default=[],
        max_length=16,
        description="Reachable, CapacityAvailable, Paused, Reconciling, Stalled, WriteRefused, NamespacesRestricted, "
        "ShapeSupported.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
    )
    shape: Name | None = Field(default=None, description="Shape of the nodes.")
    preemptible: bool = Field(default=False, description="Whether Oracle may reclaim the nodes, at half the price.")
    gpus_per_node: int | None = Field(default=None, ge=1, description="GPUs of one node.")
    hourly_rate: Money | None = Field(default=None, description="USD per node and hour.")
    size: int | None = Field(default=None, ge=0, description="Size of the OKE node pool, as last seen.")
    demand: int = Field(default=0, ge=0, description="Nodes that admitted jobs need.")
    waiting_jobs: int = Field(default=0, ge=0, description="Jobs that wait for this pool.")
    added_nodes: int = Field(default=0, ge=0, description="Nodes that the operator answers for.")
    nodes: list[PoolNodeStatus] = Field(
        default=[],
        max_length=1000,
        description="Instances that are paid for.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["instanceId"]},
    )
    coming_for: list[Name] = Field(
        default=[], max_length=200, description="Namespaces for which nodes were asked that have no instance yet."
    )
    namespaces: list[NamespaceUsage] = Field(
        default=[],
        max_length=1000,
        description="What each namespace holds and has spent; namespaceLimits go by it.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    scale_up: ScaleUp | None = Field(default=None, description="A growth that is under way.")
    backoff: Backoff | None = Field(default=None, description="Why nothing is asked for at the moment.")
    failed_boots: FailedBoots | None = Field(
        default=None, description="What was paid for nodes that never came to work, since one did."
    )
    refused_changes: RefusedChanges | None = Field(
        default=None, description="Since when Oracle takes no change of the pool."
    )
    recent_removals: list[Time] = Field(default=[], max_length=200, description="Removals begun in the last minute.")
    cost: PoolCost = Field(default=PoolCost(), description="What the pool has cost.")
    last_error: LastError | None = Field(default=None, description="The last refusal of Oracle's API.")

    def to_manifest(self) -> dict[str, object]:
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)
