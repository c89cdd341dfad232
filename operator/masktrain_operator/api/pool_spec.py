"""The spec of a GPUNodePool: one OKE node pool that the operator may grow and shrink."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from masktrain_trainer.config import Contract


class PoolAuth(StrEnum):
    """`InstancePrincipal`: the node it runs on; `WorkloadIdentity`: its ServiceAccount; `ConfigSecret`: an API key."""

    INSTANCE_PRINCIPAL = "InstancePrincipal"
    WORKLOAD_IDENTITY = "WorkloadIdentity"
    CONFIG_SECRET = "ConfigSecret"  # noqa: S105 (the name of a type)


MAX_NODES = 200
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
    gpus_per_node: int | None = Field(
        default=None, ge=1, le=16, description="GPUs of one node; unset takes the shape's from the price table."
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
    paused: bool = Field(default=False, description="Neither grow nor shrink the pool; costs are still counted.")
