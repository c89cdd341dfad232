"""How gangs are packed onto the nodes of a pool: first fit, at most one pod of a gang on a node.

Nodes that are being created, and those that the pool could still grow by, count as slots too.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import islice

from masktrain_operator.api.conditions import Reason
from masktrain_operator.api.pool_spec import LabelSelector
from masktrain_operator.core.gangs import Gang, Objection

MAKERS = {"nvidia.com": "NVIDIA", "amd.com": "AMD"}
"""By the domain of the resources that count their GPUs, slices of them included."""
SYSTEM_CLASSES = "system-"
"""How the names of the PriorityClasses begin that are for what the cluster itself runs on."""


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
    maker: str | None = None
    """Who makes the GPUs; None where that is not known."""
    takes_own_images: bool = False
    """Whether a job that names the pool may have them even so."""
    changes: datetime | None = field(default=None, compare=False)
    """When some of this may change although nothing happens. That alone makes no other pool of it."""

    def suits(self, gang: Gang) -> bool:
        """Whether the gang may run here at all; a gang that names a pool has said so itself."""
        if gang.pool_ref is not None:
            return gang.pool_ref == self.name
        # Only the shape is known of a pool without nodes; other labels may be on its Nodes: the scheduler will see.
        return gang.gpus_per_node <= self.gpus_per_node and self._mismatch(gang) is None

    def _mismatch(self, gang: Gang) -> str | None:
        """Why none of its pods could ever be scheduled here, although nodes would come for it."""
        maker = MAKERS.get(gang.gpu_resource.partition("/")[0])
        if None not in (maker, self.maker) and maker != self.maker:
            return f"its GPUs are of {self.maker}, and compute.gpuResource is {gang.gpu_resource}"
        for key, value in sorted(gang.node_selector.items()):
            if self.node_labels.get(key, value) != value:
                return f"{key} of its nodes is {self.node_labels[key]}, and compute.nodeSelector asks for {value}"
        return None

    def objection(self, gang: Gang) -> Objection | None:
        """Why the gang may not have nodes of the pool, whatever is free there."""
        # Who names no pool has not chosen its GPUs either, and so no image for them.
        if self.unsupported is not None and not (self.takes_own_images and gang.pool_ref == self.name):
            message = f"GPUNodePool {self.name} cannot be used: {self.unsupported}"
            return Objection(Reason.SHAPE_NOT_SUPPORTED, message)
        mismatch = self._mismatch(gang)
        if mismatch is not None:
            message = f"GPUNodePool {self.name} cannot take the job: {mismatch}."
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
