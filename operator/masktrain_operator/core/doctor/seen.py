"""What `masktrain doctor` has seen, frozen: of the cluster, of each pool at Oracle, of stores and clocks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias, TypeVar

from masktrain_operator.api.v1alpha1 import GPUNodePool

from .findings import NotSeen

Thing = TypeVar("Thing")
Look: TypeAlias = Thing | NotSeen
GIB = 2**30


@dataclass(frozen=True)
class SeenNode:
    """A Node of a pool. Bytes are None where the kubelet reports none. `driver`: as a label has it."""

    name: str
    pool: str
    ready_changed: datetime
    ready: bool
    gpus: int
    driver: str | None = None
    allocatable_bytes: int | None = None
    capacity_bytes: int | None = None


@dataclass(frozen=True)
class SeenPlugin:
    """A DaemonSet that shows GPUs of `maker` to Kubernetes."""

    name: str
    namespace: str
    maker: str


@dataclass(frozen=True)
class SeenStore:
    """Where a job keeps data or checkpoints. `job`: namespace/name."""

    job: str
    uri: str
    endpoint: str | None
    region: str | None


@dataclass(frozen=True)
class PlacementConfig:
    availability_domain: str
    capacity_reservation: bool = False


@dataclass(frozen=True)
class OraclePool:
    """The node pool as Container Engine describes it. `image`: its name if Oracle tells, else its OCID.

    `boot_volume_gb`: None is the image's own size. `cloud_init`: the decoded script, None if the pool has none.
    """

    id: str
    name: str
    compartment_id: str
    cluster_id: str
    shape: str
    image: str
    placements: tuple[PlacementConfig, ...]
    preemptible: bool = False
    boot_volume_gb: int | None = None
    cloud_init: Look[str] | None = None
    kms_key_id: str | None = None
    has_security_groups: bool = False
    has_defined_tags: bool = False
    instance_ids: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Compartment:
    id: str
    name: str


@dataclass(frozen=True)
class Policies:
    """All statements that hold for a compartment: its own and those of what it lies in, the tenancy last."""

    compartments: tuple[Compartment, ...]
    statements: tuple[str, ...]


@dataclass(frozen=True)
class SeenCluster:
    """`addons`: state of each add-on by name."""

    is_enhanced: bool | None
    addons: Mapping[str, str]


@dataclass(frozen=True)
class OracleView:
    """What Oracle shows of a pool to whom the doctor signs as.

    `as_operator`: whether that is the operator itself, so that what is refused here is refused to the operator too.
    `probes`: of each call that was tried, None if it was answered.
    """

    as_operator: bool
    sign_in: NotSeen | None
    pool: Look[OraclePool]
    probes: Mapping[str, NotSeen | None] = field(default_factory=dict)
    policies: Look[Policies] | None = None
    cluster: Look[SeenCluster] | None = None
    is_refused_for_good: bool = True
    """Whether a failed `sign_in` is the operator's own, and no accident of where the doctor runs."""


@dataclass(frozen=True)
class SeenClock:
    """`ahead_seconds`: how much it is ahead of this machine's; None where nobody answered."""

    whose: str
    ahead_seconds: float | None


@dataclass(frozen=True)
class Reached:
    """Whether an address answered; what it answered does not matter."""

    address: str
    failure: NotSeen | None


@dataclass(frozen=True)
class StorageNeeds:
    """What a node has to hold, as the person who asks says it. `image_gib` is the trainer's, unpacked and packed."""

    data_gib: float = 10.0
    image_gib: float = 12.0


@dataclass(frozen=True)
class Operator:
    """Whom the policies have to name."""

    namespace: str
    accounts: tuple[str, ...]
    own_account: str | None = None
    """`namespace/name` of the doctor's own ServiceAccount, if it has one."""


@dataclass(frozen=True)
class Seen:
    """Everything. `oracle` is by the name of the GPUNodePool."""

    now: datetime
    operator: Operator
    pools: Look[tuple[GPUNodePool, ...]]
    unreadable: tuple[tuple[str, str], ...] = ()
    """GPUNodePools that this version cannot read, and why."""
    nodes: Look[tuple[SeenNode, ...]] = ()
    plugins: Look[tuple[SeenPlugin, ...]] = ()
    stores: Look[tuple[SeenStore, ...]] = ()
    oracle: Mapping[str, OracleView] = field(default_factory=dict)
    reached: tuple[Reached, ...] = ()
    clocks: tuple[SeenClock, ...] = ()

    def nodes_of(self, pool: GPUNodePool) -> tuple[SeenNode, ...]:
        """None are there, or none could be seen."""
        nodes = () if isinstance(self.nodes, NotSeen) else self.nodes
        return tuple(node for node in nodes if node.pool == pool.metadata.name)

    @property
    def known_pools(self) -> tuple[GPUNodePool, ...]:
        return () if isinstance(self.pools, NotSeen) else self.pools

    def oracle_pool(self, pool: GPUNodePool) -> OraclePool | None:
        view = self.oracle.get(pool.metadata.name)
        return None if view is None or isinstance(view.pool, NotSeen) else view.pool


def pool_name(pool: GPUNodePool) -> str:
    return f"GPUNodePool {pool.metadata.name}"
