"""What the pool planner reads and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property

from masktrain_operator.api.pool_status import GPUNodePoolStatus, PoolNodeStatus
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core import shapes
from masktrain_operator.core.shapes import Fit, ShapeCheck
from masktrain_operator.core.types import Event, Manifest

from .admission import Placement
from .billing import Tariff, charge, spent
from .nodes import KubeNode
from .oke import Instance, OkeNode, OkePool


@dataclass(frozen=True)
class ObservedPool:
    """`instances`: those asked for because they are new; `ended`: when missing ones were terminated."""

    oke: OkePool
    nodes: tuple[KubeNode, ...] = ()
    placements: tuple[Placement, ...] = ()
    waiting_jobs: int = 0
    instances: Mapping[str, Instance] = field(default_factory=dict)
    ended: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class PoolContext:
    """One look at one pool."""

    pool: GPUNodePool
    observed: ObservedPool
    now: datetime

    @property
    def status(self) -> GPUNodePoolStatus:
        """As last written."""
        return self.pool.status

    @cached_property
    def kube_nodes(self) -> Mapping[str, KubeNode]:
        """By instance."""
        return {node.instance_id: node for node in self.observed.nodes}

    @cached_property
    def oke_nodes(self) -> Mapping[str, OkeNode]:
        """By instance; phantoms have none."""
        return {node.instance_id: node for node in self.observed.oke.nodes if node.instance_id}

    @property
    def is_deleting(self) -> bool:
        return self.pool.metadata.deletion_timestamp is not None

    @property
    def gpus_per_node(self) -> int | None:
        """None for a shape that is not in the table of shapes and of which the pool's spec says nothing."""
        shape = shapes.find_shape(self.observed.oke.shape)
        return self.pool.spec.gpus_per_node or (shape.gpus if shape else None)

    @cached_property
    def shape_check(self) -> ShapeCheck:
        return shapes.check_shape(self.observed.oke.shape)

    @property
    def is_refused(self) -> bool:
        """Whether no image runs on the pool's nodes, and nobody has said that its jobs bring one."""
        return self.shape_check.fit is Fit.NOT_SUPPORTED and not self.pool.spec.skip_shape_check

    @cached_property
    def tariff(self) -> Tariff:
        """How a node of the pool is billed."""
        minimum = self.pool.spec.minimum_billed_seconds
        if minimum is None:
            minimum = shapes.minimum_billed_seconds(self.observed.oke.shape)
        return Tariff(minimum, self.gpus_per_node or 0, self._hourly_rate())

    def _hourly_rate(self) -> Decimal | None:
        oke, override = self.observed.oke, self.pool.spec.hourly_price
        return shapes.hourly_price(oke.shape, oke.preemptible, Decimal(override) if override else None)

    @cached_property
    def overspent(self) -> frozenset[str]:
        """Namespaces that may spend nothing more on the pool in this month."""
        limit = self.pool.spec.namespace_limits.monthly_cost
        if limit is None:
            return frozenset()
        status = charge(self.status, self.observed.ended, self.now, self.tariff)
        return frozenset(u.name for u in status.namespaces if spent(status, u.name, self.now) >= Decimal(limit))

    def kube_node_of(self, entry: PoolNodeStatus) -> KubeNode | None:
        return self.kube_nodes.get(entry.instance_id)


@dataclass(frozen=True)
class NodePatch:
    """A merge patch of a Node, bound to its uid; with a resource version, to exactly the Node that was seen."""

    name: str
    uid: str
    body: Manifest
    resource_version: str | None = None


@dataclass(frozen=True)
class Resize:
    size: int
    etag: str


@dataclass(frozen=True)
class Removal:
    """Terminate this one instance. Without a Node it never joined, and none with its provider id may exist."""

    instance_id: str
    node: KubeNode | None
    drain_seconds: int
    is_repeated: bool = False
    """Whether Oracle was, or may have been, asked before: then the node is not given back whatever it answers."""


@dataclass(frozen=True)
class PoolPlan:
    """What to do, in this order: patch nodes, remove, resize, write the status, emit the events."""

    patches: tuple[NodePatch, ...] = ()
    resize: Resize | None = None
    removals: tuple[Removal, ...] = ()
    status: GPUNodePoolStatus | None = None
    events: tuple[Event, ...] = ()
    finalize: bool = False
    """Whether the deleted pool may go."""
    requeue_after: float | None = None

    def and_also(self, other: "PoolPlan") -> "PoolPlan":
        """Both plans' actions, with the other's status."""
        return replace(
            other,
            patches=(*self.patches, *other.patches),
            resize=other.resize or self.resize,
            removals=(*self.removals, *other.removals),
            requeue_after=self.requeue_after if other.requeue_after is None else other.requeue_after,
        )
