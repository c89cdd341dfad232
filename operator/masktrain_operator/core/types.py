"""What the node pools say to one job: whether its gang may start now, and where."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from masktrain_operator.api.conditions import Reason
from masktrain_trainer.config import Progress


@dataclass(frozen=True)
class Capacity:
    """An answer of admission. `pool` is None while no pool is chosen.

    `boot_cost`: USD that the nodes cost before anybody could use them, if they came for this job.
    """

    is_ready: bool
    reason: Reason
    message: str
    pool: str | None = None
    hourly_rate: Decimal | None = None
    boot_cost: Decimal = Decimal(0)
    boot_gpu_seconds: int = 0

    @property
    def needs_a_person(self) -> bool:
        """Whether waiting alone will not help."""
        return self.reason in (Reason.POOL_NOT_FOUND, Reason.POOL_TOO_SMALL)


@dataclass(frozen=True)
class NodeRate:
    """What a node of a pool costs, from its creation on."""

    hourly_rate: Decimal
    gpus: int
    created: datetime


Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON."""


@dataclass(frozen=True)
class Observed:
    """The cluster as seen for one MaskTrainingJob."""

    jobs: tuple[Manifest, ...] = ()
    """Batch Jobs whose controller is this resource's uid."""
    pods: tuple[Manifest, ...] = ()
    """Pods that carry this resource's uid as a label."""
    service: Manifest | None = None
    """The Service named like the resource, whoever owns it."""
    progress: Progress | None = None
    """The last answer of rank 0 of the running attempt."""
    progress_error: str | None = None
    """Why a Ready rank-0 pod could not be read."""
    foreign_jobs: tuple[str, ...] = ()
    """Names of Jobs that stand where an attempt's Job should be created and belong to someone else."""
    capacity: Capacity | None = None
    """What node pools answer to a job whose gang is to start; None if it is not for pools."""
    node_rates: Mapping[str, NodeRate] = field(default_factory=dict)
    """By name of Node, of those that belong to a pool with a price."""


@dataclass(frozen=True)
class Deletion:
    """One object to delete, guarded by its uid. `grace_seconds` None leaves the object's own grace period."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    grace_seconds: int | None = None


@dataclass(frozen=True)
class Event:
    kind: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do, in this order: create, apply, delete, write the status, emit the events."""

    create: tuple[Manifest, ...] = ()
    apply: tuple[Manifest, ...] = ()
    delete: tuple[Deletion, ...] = ()
    status: Manifest | None = None
    """The whole new status; None leaves it as it is."""
    events: tuple[Event, ...] = ()
    requeue_after: float | None = None
    """Seconds until a plan could differ although nothing was seen to change."""


@dataclass(frozen=True)
class PlanSettings:
    trainer_image: str
    image_pull_policy: str = "IfNotPresent"
    progress_interval_seconds: float = 2.0
