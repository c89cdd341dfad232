"""The spec of a GPUNodePool: one OKE node pool that the operator may grow and shrink."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from masktrain_trainer.config import Contract, not_filled_in


class PoolAuth(StrEnum):
    """`InstancePrincipal`: the node it runs on; `WorkloadIdentity`: its ServiceAccount; `ConfigSecret`: an API key."""

    INSTANCE_PRINCIPAL = "InstancePrincipal"
    WORKLOAD_IDENTITY = "WorkloadIdentity"
    CONFIG_SECRET = "ConfigSecret"  # noqa: S105 (the name of a type)


MAX_NODES = 200
START_TIMEOUT_SECONDS = 3600
"""Where a pool does not say, as before it could."""
# Money is text: a number of a CRD becomes a float somewhere on its way, and limits are compared exactly.
DECIMAL_PATTERN = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
Price = Annotated[str, Field(pattern=DECIMAL_PATTERN, max_length=13)]


class ConfigSecretRef(Contract):
    name: str = Field(
        min_length=1,
        max_length=253,
        description="Name of a Secret in the operator's namespace with tenancy, user, fingerprint and key.",
    )


class AuthSpec(Contract):
    """Who the operator is to Oracle's APIs."""

    type: PoolAuth = Field(
        default=PoolAuth.WORKLOAD_IDENTITY,
        description="How the operator signs its requests: as its ServiceAccount (in an enhanced OKE cluster), as the "
        "node it runs on, which every pod on that node can do, or with an API key. Pools from before this default have "
        "InstancePrincipal stored.",
    )
    config_secret_ref: ConfigSecretRef | None = Field(default=None, description="The API key of type ConfigSecret.")


class ScaleDownSpec(Contract):
    enabled: bool = Field(default=True, description="Whether idle nodes are removed at all.")
    drain_seconds: int = Field(
        default=30, ge=0, le=3600, description="Time for pods without GPUs to leave a node before it is terminated."
    )
    max_removals_per_minute: int = Field(
        default=10, ge=1, le=MAX_NODES, description="Removals begun within any minute, so that a mistake stays small."
    )


class SelectorOperator(StrEnum):
    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[str, Field(max_length=63)]


class SelectorRequirement(Contract):
    key: LabelKey = Field(description="Label of the namespace.")
    operator: SelectorOperator = Field(description="How its value is compared.")
    values: list[LabelValue] = Field(default=[], max_length=64, description="For In and NotIn.")

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case SelectorOperator.IN:
                return value in self.values
            case SelectorOperator.NOT_IN:
                return value not in self.values
            case SelectorOperator.EXISTS:
                return value is not None
            case SelectorOperator.DOES_NOT_EXIST:
                return value is None


class LabelSelector(Contract):
    """Kubernetes' own LabelSelector: all requirements together; an empty one selects everything."""

    match_labels: dict[LabelKey, LabelValue] = Field(default={}, max_length=32, description="Labels and their values.")
    match_expressions: list[SelectorRequirement] = Field(default=[], max_length=32, description="More requirements.")

    def matches(self, labels: Mapping[str, str]) -> bool:
        same = all(labels.get(key) == value for key, value in self.match_labels.items())
        return same and all(requirement.holds(labels) for requirement in self.match_expressions)


class NamespaceLimits(Contract):
    """What each namespace may have of the pool; unset fields limit nothing."""

    nodes: int | None = Field(
        default=None,
        ge=1,
        le=MAX_NODES,
        description="Most nodes of the pool that the jobs of one namespace hold at a time, booting ones included.",
    )
    monthly_cost: Price | None = Field(
        default=None,
        description="USD that one namespace may spend on the pool in a calendar month (UTC); then its jobs stop with "
        "a checkpoint and fail as CostLimitReached, and new ones wait for the next month.",
    )


class GPUNodePoolSpec(Contract):
    node_pool_id: str = Field(
        pattern=r"^ocid1\.nodepool\.[a-zA-Z0-9_.\-]+$", max_length=255, description="OCID of the OKE node pool."
    )
    region: str = Field(
        pattern=r"^[a-z]{2,}-[a-z0-9]+-[0-9]+$", max_length=63, description="Region of the pool, like us-ashburn-1."
    )
    min_nodes: int = Field(default=0, ge=0, le=MAX_NODES, description="Nodes that stay even if nobody needs them.")
    max_nodes: int = Field(ge=1, le=MAX_NODES, description="The operator never grows the pool beyond this.")
    idle_seconds: int = Field(
        default=120, ge=0, le=86_400, description="A node without GPU pods is removed after this long."
    )
    # 20 minutes: above the 3 to 15 in which GPU nodes are taken to boot (docs/cost.md).
    provisioning_timeout_seconds: int = Field(
        default=1200,
        ge=30,
        le=86_400,
        description="A node that is not ready with its GPUs after this long is given up.",
    )
    start_timeout_seconds: int | None = Field(
        default=None,
        ge=60,
        le=604_800,
        description="Longest time that nodes are kept for a job whose workers have not all started; after it the job "
        "fails and its nodes go. Unset is an hour. A job's limits.startDeadlineSeconds can only shorten it; waiting "
        "without nodes does not count.",
    )
    gpus_per_node: int | None = Field(
        default=None, ge=1, le=16, description="GPUs of one node; unset takes what the shape is known to have."
    )
    hourly_price: Price | None = Field(
        default=None, description="USD per node and hour; unset takes Oracle's list price of the shape."
    )
    minimum_billed_seconds: int | None = Field(
        default=None,
        ge=0,
        le=86_400,
        description="Least time billed per node; unset is an hour for bare metal and a minute for VMs.",
    )
    auth: AuthSpec = Field(default=AuthSpec(), description="Access to Oracle's APIs.")
    scale_down: ScaleDownSpec = Field(default=ScaleDownSpec(), description="How idle nodes are removed.")
    allowed_namespaces: LabelSelector | None = Field(
        default=None, description="Namespaces whose jobs may use the pool, by their labels; unset means all."
    )
    namespace_limits: NamespaceLimits = Field(
        default=NamespaceLimits(),
        description="What each namespace may have of the pool.",
        json_schema_extra=not_filled_in,
    )
    allowed_priority_classes: list[Annotated[str, Field(min_length=1, max_length=253)]] | None = Field(
        default=None,
        max_length=64,
        description="PriorityClasses that jobs may name in compute.priorityClassName; unset means all but system-*, "
        "which are never allowed.",
    )
    skip_shape_check: bool = Field(
        default=False,
        description="Use the pool although the operator's trainer image does not run on its shape: for jobs that name "
        "the pool in compute.nodePoolRef and bring an image that does in compute.image.",
        json_schema_extra=not_filled_in,
    )
    paused: bool = Field(default=False, description="Neither grow nor shrink the pool; costs are still counted.")
