"""What the pure core reads and what it answers: the whole interface between deciding and doing."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_spec import START_TIMEOUT_SECONDS
from masktrain_trainer.config import Progress


@dataclass(frozen=True)
class Capacity:
    """An answer of admission. `pool` is None while no pool is chosen."""

    is_ready: bool
    reason: Reason
    message: str
    pool: str | None = None
    hourly_rate: Decimal | None = None
    reserved: tuple[datetime | None, ...] = ()
    """For each node that is kept for the job and paid for: since when, if it came for it, else None."""
    gpus_per_node: int = 0

    @property
    def needs_a_person(self) -> bool:
        """Whether waiting alone will not help."""
        return self.reason in (
            Reason.POOL_NOT_FOUND,
            Reason.POOL_TOO_SMALL,
            Reason.SHAPE_NOT_SUPPORTED,
            Reason.NAMESPACE_NOT_ALLOWED,
            Reason.NAMESPACE_LIMIT_TOO_SMALL,
            Reason.PRIORITY_CLASS_NOT_ALLOWED,
        )


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
    """Batch Jobs in its namespace whose controller is this resource's uid."""
    pods: tuple[Manifest, ...] = ()
    """Pods in its namespace whose controller is, or was, one of those Jobs. What a label says makes none."""
    service: Manifest | None = None
    """The Service named like the resource, whoever owns it."""
    network_policy: Manifest | None = None
    """The NetworkPolicy named like the resource, whoever owns it."""
    progress: Progress | None = None
    """The last answer of rank 0 of the running attempt."""
    progress_error: str | None = None
    """Why a Ready rank-0 pod could not be read."""
    foreign_jobs: tuple[str, ...] = ()
    """Names of Jobs that stand where an attempt's Job should be created and belong to someone else."""
    capacity: Capacity | None = None
    """What node pools answer to a job whose gang is to start; None if it is not for pools."""
    overspent: str | None = None
    """Why the job may have its nodes no longer: the money of its namespace is spent for this month."""
    start_timeout_seconds: int = START_TIMEOUT_SECONDS
    """How long the pool that the job has nodes of keeps them for workers that do not start."""
    node_rates: Mapping[str, NodeRate] = field(default_factory=dict)
    """By name of Node, of those that belong to a pool with a price."""
    refusals: tuple["Refusal", ...] = ()
    """Writes for this resource that the API server refused when they were last tried."""


@dataclass(frozen=True)
class Deletion:
    """One object to delete, guarded by its uid. `grace_seconds` None leaves the object's own grace period."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str
    grace_seconds: int | None = None


Verb = Literal["create", "apply", "delete"]
WriteKey = tuple[Verb, str, str]
"""Verb, kind and name of a write."""


def write_key(verb: Verb, manifest: Manifest) -> WriteKey:
    return verb, manifest["kind"], manifest["metadata"]["name"]


PASSING_FAILURES = 4
"""Half a minute, by the back-off of writes: as long as a control plane takes to fail over."""


@dataclass(frozen=True)
class Refusal:
    """A write that the API server did not take: over a quota, against an admission policy, invalid, not allowed."""

    verb: Verb
    kind: str
    name: str
    reason: str
    """One CamelCase word, the API server's own."""
    message: str
    """The API server's own sentence."""
    retry_time: datetime
    failures: int = 1
    """How often in a row."""
    is_overload: bool = False
    """Whether the API server had no answer (429, 5xx), which is no judgement of the write."""

    @property
    def key(self) -> WriteKey:
        """The write that it is about."""
        return self.verb, self.kind, self.name

    @property
    def is_lasting(self) -> bool:
        """Whether to tell a person: a moment of overload passes by itself, a webhook that is broken does not."""
        return not self.is_overload or self.failures > PASSING_FAILURES

    @property
    def sentence(self) -> str:
        done = {"create": "created", "apply": "updated", "delete": "deleted"}[self.verb]
        return f"{self.kind} {self.name} could not be {done}: {self.message}"


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

    @property
    def writes(self) -> frozenset[WriteKey]:
        """To objects other than the resource itself."""
        return frozenset(
            [
                *(write_key("create", manifest) for manifest in self.create),
                *(write_key("apply", manifest) for manifest in self.apply),
                *(("delete", deletion.kind, deletion.name) for deletion in self.delete),
            ]
        )

    def without(self, writes: Set[WriteKey]) -> "Plan":
        return replace(
            self,
            create=tuple(manifest for manifest in self.create if write_key("create", manifest) not in writes),
            apply=tuple(manifest for manifest in self.apply if write_key("apply", manifest) not in writes),
            delete=tuple(d for d in self.delete if ("delete", d.kind, d.name) not in writes),
        )


@dataclass(frozen=True)
class PlanSettings:
    trainer_image: str
    image_pull_policy: str = "IfNotPresent"
    progress_clients: tuple[Manifest, ...] = ()
    """NetworkPolicyPeers that may ask trainer pods for their progress. Without any no NetworkPolicy is written."""
    weights_mirror: str = ""
    """Prefix of a copy of YOLOv5's release, for jobs with official weights; without any they go to GitHub."""
    progress_interval_seconds: float = 2.0
