"""Gangs, and how they are packed onto the nodes of a pool: first fit, at most one pod of a gang on a node.

Nodes that are being created, and those that the pool could still grow by, count as slots too.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice

from masktrain_operator.api import labels
from masktrain_operator.api.conditions import ConditionType, Reason
from masktrain_operator.api.pool_spec import LabelSelector
from masktrain_operator.core import jobs, pods
from masktrain_operator.core.times import parse_time
from masktrain_operator.core.types import Manifest

from .nodes import GPU_RESOURCES, gpus_requested

SYSTEM_CLASSES = "system-"
"""How the names of the PriorityClasses begin that are for what the cluster itself runs on."""
FINAL = (ConditionType.COMPLETE, ConditionType.FAILED)


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
        admitted_to=admitted_to,
        placed_on=placed_on,
        namespace_labels=namespace_labels,
        priority_class=compute.get("priorityClassName"),
        is_deleted=is_deleted,
        objection=objection,
    )


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


@dataclass(frozen=True)
class NodeSlot:
    """What a node has left for gangs: its GPUs less those of pods that belong to none."""

    name: str
    free_gpus: int
    open: bool = True
    """Whether new pods may start there, once it is present."""
    present: bool = True
    """Whether the node has joined, with its GPUs."""
    grown: bool = False
    """Whether it stands for a node that the pool would have to grow by; its name is then a number."""
    gpus: int | None = None
    """All that it has, taken or not; None where nothing is taken."""
    taken: tuple[tuple[str, int], ...] = ()
    """Its GPUs that pods have which belong to no gang, by namespace."""


@dataclass(frozen=True)
class NamespaceRules:
    """Who may use a pool, and how much of it. `spent`: why a namespace may have nothing more, by its name."""

    allowed: LabelSelector | None = None
    priority_classes: tuple[str, ...] | None = None
    max_nodes: int | None = None
    held: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Names of slots, and instances that are none any more, that are charged to a namespace."""
    spent: Mapping[str, str] = field(default_factory=dict)

    def objection(self, gang: Gang, pool: str) -> Objection | None:
        """Why the gang may not have nodes of the pool, whatever is free there."""
        known = gang.namespace_labels
        if self.allowed is not None and (known is None or not self.allowed.matches(known)):
            message = (
                f"GPUNodePool {pool} does not allow namespace {gang.namespace}: its allowedNamespaces select others."
            )
            return Objection(Reason.NAMESPACE_NOT_ALLOWED, message)
        if not self._allows_class(gang.priority_class):
            message = (
                f"GPUNodePool {pool} does not allow compute.priorityClassName {gang.priority_class}: "
                "create the job with one of its allowedPriorityClasses, or with none."
            )
            return Objection(Reason.PRIORITY_CLASS_NOT_ALLOWED, message)
        if self.max_nodes is not None and gang.nodes > self.max_nodes:
            message = (
                f"The job needs {gang.nodes} nodes; a namespace may hold {self.max_nodes} of GPUNodePool {pool} "
                "(namespaceLimits.nodes)."
            )
            return Objection(Reason.NAMESPACE_LIMIT_TOO_SMALL, message)
        spent = self.spent.get(gang.namespace)
        return None if spent is None else Objection(Reason.NAMESPACE_LIMIT_REACHED, spent)

    def _allows_class(self, name: str | None) -> bool:
        if name is None:
            return True
        listed = self.priority_classes is None or name in self.priority_classes
        return listed and not name.startswith(SYSTEM_CLASSES)


@dataclass(frozen=True)
class PoolSlots:
    """A pool as admission sees it. `growable`: nodes that it may grow by at this moment."""

    name: str
    gpus_per_node: int
    slots: tuple[NodeSlot, ...] = ()
    growable: int = 0
    limit: int = 0
    """Most nodes that it could ever have."""
    hourly_rate: Decimal | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict)
    obstacle: str | None = None
    """Why it does not grow at this moment."""
    rules: NamespaceRules = NamespaceRules()
    unsupported: str | None = None
    """Why no image of this version runs on its nodes."""
    takes_own_images: bool = False
    """Whether a job that names the pool may have them even so."""
    changes: datetime | None = field(default=None, compare=False)
    """When some of this may change although nothing happens. That alone makes no other pool of it."""

    def suits(self, gang: Gang) -> bool:
        """Whether the gang may run here at all; a gang that names a pool has said so itself."""
        if gang.pool_ref is not None:
            return gang.pool_ref == self.name
        # Only the shape is known of a pool without nodes; other labels may be on its Nodes: the scheduler will see.
        wanted = {key: value for key, value in gang.node_selector.items() if key in self.node_labels}
        return gang.gpus_per_node <= self.gpus_per_node and all(self.node_labels[k] == v for k, v in wanted.items())

    def objection(self, gang: Gang) -> Objection | None:
        """Why the gang may not have nodes of the pool, whatever is free there."""
        # Who names no pool has not chosen its GPUs either, and so no image for them.
        if self.unsupported is not None and not (self.takes_own_images and gang.pool_ref == self.name):
            message = f"GPUNodePool {self.name} cannot be used: {self.unsupported}"
            return Objection(Reason.SHAPE_NOT_SUPPORTED, message)
        return self.rules.objection(gang, self.name)

    def could_hold(self, gang: Gang) -> bool:
        """Whether the gang would fit if nobody else were here."""
        return gang.gpus_per_node <= self.gpus_per_node and gang.nodes <= self.limit


class Packing:
    """Gangs put on a pool's slots one after the other: first fit, at most one pod of a gang on a node."""

    def __init__(self, pool: PoolSlots) -> None:
        self._pool = pool
        # Ordered: the first slot that fits is taken, so that the pool's order decides which nodes fall idle.
        self._free = {slot: slot.free_gpus for slot in pool.slots}
        self._by_name = {slot.name: slot for slot in pool.slots}
        self._grown = 0
        self._held = {namespace: set(names) for namespace, names in pool.rules.held.items()}
        self._used: defaultdict[str, Counter[NodeSlot]] = defaultdict(Counter)
        is_open = [slot.open for slot in pool.slots]
        self._within_reach = sum(is_open) if pool.obstacle else pool.limit - is_open.count(False)
        for slot in pool.slots:
            for namespace, gpus in slot.taken:
                self._used[namespace][slot] += gpus

    def keep(self, gang: Gang) -> tuple[NodeSlot, ...]:
        """Put a gang that is admitted: where its pods are, the rest as if it came now, even beyond what may grow.

        Beyond its pods it gets only what it might have as a new one: who may create batch Jobs could otherwise make one
        that looks admitted.
        """
        taken = self._take(gang, self._placed(gang))
        # The sweeper knows no namespaces: for it a gang at work is one, and nothing ever grows.
        is_known = gang.namespace_labels is not None
        if gang.is_deleted:
            return taken
        if is_known and self._pool.objection(gang) is not None:
            return taken
        rest = max(0, gang.nodes - len(taken))
        found = self._take(gang, self._first_fit(gang, rest, besides=taken))
        return (*taken, *found, *self._take(gang, self._grow(self._within_limit(gang, rest - len(found)), gang)))

    def hold(self, gang: Gang) -> None:
        """Charge what the pods of a gang that waits stand on: nobody else can have that, whosever turn it is."""
        self._take(gang, self._placed(gang))

    def admit(self, gang: Gang, *, growing: bool) -> tuple[NodeSlot, ...] | None:
        """Put a gang that waits, whole or not at all; without `growing` only on nodes that are there or coming."""
        own = self._placed(gang) if gang.stands_already else ()
        needed = max(0, gang.nodes - len(own))
        found = self._first_fit(gang, needed, besides=own)
        missing = needed - len(found)
        if missing and not growing:
            return None
        # What gangs before it in turn will grow by is taken: two gangs must not count on the same nodes.
        if missing > self._pool.growable - self._grown or gang.gpus_per_node > self._pool.gpus_per_node:
            return None
        new = missing + self._new_to(gang, found)
        if self._within_limit(gang, new) < new:
            return None
        return (*own, *self._take(gang, (*found, *self._grow(missing, gang))))

    def _placed(self, gang: Gang) -> tuple[NodeSlot, ...]:
        return tuple(self._by_name[name] for name in sorted(gang.placed_on & self._by_name.keys()))

    def _first_fit(self, gang: Gang, count: int, besides: Collection[NodeSlot]) -> tuple[NodeSlot, ...]:
        fits = (
            slot
            for slot, free in self._free.items()
            if slot.open and slot not in besides and free >= gang.gpus_per_node
        )
        if self._pool.rules.max_nodes is None:
            return tuple(islice(fits, count))
        # What counts for the namespace anyway comes first, so that it never holds more than it uses.
        found = list(fits)
        held = self._held.get(gang.namespace, set())
        others = [slot for slot in found if _held_name(slot) not in held]
        new = others[: self._within_limit(gang, len(others))]
        return tuple([slot for slot in found if _held_name(slot) in held] + new)[:count]

    def is_limited(self, gang: Gang) -> bool:
        """Whether the gang waits for nothing but nodes of its own namespace."""
        if self._pool.rules.max_nodes is None:
            return False
        own = self._held.get(gang.namespace, set())
        usable = sum(s.open and f >= gang.gpus_per_node and _held_name(s) in own for s, f in self._free.items())
        missing = max(0, gang.nodes - usable)
        return self._within_limit(gang, missing) < missing

    def kept_by_own(self, gang: Gang) -> int:
        """On so many nodes the gang would find no room although all other namespaces had left: its own keeps them."""
        used: Counter[NodeSlot] = self._used.get(gang.namespace, Counter())
        own = self._placed(gang) if gang.stands_already else ()
        return sum(_all_gpus(slot) - gpus < gang.gpus_per_node for slot, gpus in used.items() if slot not in own)

    def is_kept_out_by_own(self, gang: Gang) -> bool:
        """Whether it could not be placed if all other namespaces had left and its own kept what it has."""
        return gang.nodes > self._pool.limit - self.kept_by_own(gang)

    def is_out_of_reach(self, gang: Gang) -> bool:
        """Whether it could not be placed either: nodes are closed, or the pool does not grow at this moment."""
        return gang.nodes > self._within_reach - self.kept_by_own(gang)

    def _within_limit(self, gang: Gang, count: int) -> int:
        """So many of `count` nodes that are new to its namespace may it have."""
        most = self._pool.rules.max_nodes
        return count if most is None else max(0, min(count, most - len(self._held.get(gang.namespace, ()))))

    def _new_to(self, gang: Gang, slots: Collection[NodeSlot]) -> int:
        held = self._held.get(gang.namespace, set())
        return sum(_held_name(slot) not in held for slot in slots)

    def _grow(self, count: int, gang: Gang) -> tuple[NodeSlot, ...]:
        if gang.gpus_per_node > self._pool.gpus_per_node:
            return ()
        gpus = self._pool.gpus_per_node
        numbers = range(self._grown + 1, self._grown + count + 1)
        slots = tuple(NodeSlot(str(number), gpus, present=False, grown=True) for number in numbers)
        self._grown += len(slots)
        self._free.update(dict.fromkeys(slots, gpus))
        return slots

    def _take(self, gang: Gang, slots: tuple[NodeSlot, ...]) -> tuple[NodeSlot, ...]:
        for slot in slots:
            self._free[slot] -= gang.gpus_per_node
            self._used[gang.namespace][slot] += gang.gpus_per_node
        self._held.setdefault(gang.namespace, set()).update(_held_name(slot) for slot in slots)
        return slots


def _all_gpus(slot: NodeSlot) -> int:
    return slot.free_gpus if slot.gpus is None else slot.gpus


def _held_name(slot: NodeSlot) -> str:
    """Grown slots are numbered like nothing else."""
    return f"grown-{slot.name}" if slot.grown else slot.name
