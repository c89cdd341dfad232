"""Which gangs may start: admitted whole, by priority and then by age; none ever holds half of what it needs.

A gang that has to wait keeps the younger ones of the same pools waiting too: they would take, node by node, what it
waits for. One that its own namespace keeps out, whatever the others did, keeps only its namespace's waiting: a team
could else hold a pool's queue for ever, by a pod that never ends. So does one that is larger than what the pool has
while it cannot grow: nobody knows when Oracle will have more.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.gangs import Gang

from .packing import NodeSlot, Packing, PoolSlots


@dataclass(frozen=True)
class Placement:
    """A gang, the pool that takes it, and the slots that it takes there, grown ones included."""

    gang: Gang
    pool: str
    slots: tuple[NodeSlot, ...]

    @property
    def is_present(self) -> bool:
        """Whether all of it is on nodes that have joined, so that its pods would start at once."""
        return all(slot.present for slot in self.slots)

    @property
    def node_names(self) -> frozenset[str]:
        """Of Nodes that are there, and instances that are coming."""
        return frozenset(slot.name for slot in self.slots if not slot.grown)


@dataclass(frozen=True)
class Refusal:
    """Why a gang waits; `pools` are those it waits for."""

    gang: Gang
    reason: Reason
    message: str
    pools: tuple[str, ...] = ()
    own_only: frozenset[str] = frozenset()
    """Those of them in which it keeps only its own namespace waiting."""


class _Queue:
    """Who is served before whom: by pool, the first gang that waits there and that all behind it wait for."""

    def __init__(self) -> None:
        self._first: dict[str, Gang] = {}
        self._first_of_own: dict[tuple[str, str], Gang] = {}

    def add(self, refusal: Refusal) -> None:
        for pool in refusal.pools:
            if pool in refusal.own_only:
                self._first_of_own.setdefault((pool, refusal.gang.namespace), refusal.gang)
            else:
                self._first.setdefault(pool, refusal.gang)

    def before(self, gang: Gang, pool: str) -> Gang | None:
        return self._first.get(pool) or self.of_own_before(gang, pool)

    def of_own_before(self, gang: Gang, pool: str) -> Gang | None:
        """A gang of its namespace that only that namespace waits for."""
        return self._first_of_own.get((pool, gang.namespace))


@dataclass(frozen=True)
class Admissions:
    placements: Mapping[str, Placement] = field(default_factory=dict)
    """By the uid of the MaskTrainingJob."""
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    overspent: Mapping[str, str] = field(default_factory=dict)
    """Why gangs at work have to stop: their namespace may spend no more on their pool this month."""

    def of_pool(self, pool: str) -> tuple[Placement, ...]:
        return tuple(placement for placement in self.placements.values() if placement.pool == pool)

    def waiting_for(self, pool: str) -> int:
        return sum(pool in refusal.pools for refusal in self.refusals.values())


def admit(gangs: Iterable[Gang], pools: Sequence[PoolSlots]) -> Admissions:
    """Gangs of which no pool is named and that no pool suits are in neither answer: they are not for pools."""
    packings = {pool.name: Packing(pool) for pool in pools}
    queue = sorted(gangs, key=lambda gang: gang.turn)
    # First, whatever its priority: who is at work keeps the nodes. Priority orders the waiting, it preempts nobody.
    placements = {
        gang.job_uid: Placement(gang, gang.admitted_to, packings[gang.admitted_to].keep(gang))
        for gang in queue
        if gang.admitted_to in packings
    }
    for gang in queue:
        if gang.stands_already:
            for packing in packings.values():
                packing.hold(gang)
    refusals: dict[str, Refusal] = {}
    waiting = _Queue()
    for gang in queue:
        if gang.admitted_to is not None:
            continue
        answer = _serve(gang, pools, packings, waiting)
        if isinstance(answer, Placement):
            placements[gang.job_uid] = answer
        elif answer is not None:
            refusals[gang.job_uid] = answer
            waiting.add(answer)
    return Admissions(placements, refusals, dict(_overspent(placements.values(), pools)))


def _overspent(placements: Iterable[Placement], pools: Sequence[PoolSlots]) -> Iterator[tuple[str, str]]:
    spent = {pool.name: pool.rules.spent for pool in pools}
    for placement in placements:
        sentence = spent[placement.pool].get(placement.gang.namespace)
        if sentence is not None:
            yield placement.gang.job_uid, sentence


def _serve(
    gang: Gang, pools: Sequence[PoolSlots], packings: Mapping[str, Packing], waiting: _Queue
) -> Placement | Refusal | None:
    suitable = sorted((pool for pool in pools if pool.suits(gang)), key=_cheapest_first)
    if not suitable:
        return _no_pool(gang)
    objections = {pool.name: pool.objection(gang) for pool in suitable}
    permitted = [pool for pool in suitable if objections[pool.name] is None]
    objection = next(iter(objections.values()))
    # Not left to nodes of no pool: without a pool's name it could be put on nodes of the very pool that refuses it.
    if not permitted and objection is not None:
        return Refusal(gang, objection.reason, objection.message)
    large_enough = [pool for pool in permitted if pool.could_hold(gang)]
    if not large_enough:
        return _too_small(gang, permitted)
    if gang.objection is not None:
        return Refusal(gang, gang.objection.reason, gang.objection.message)
    for growing in (False, True):
        # A pool without capacity has nothing to grow by until its wait is over: the gang falls to the next one.
        for pool in large_enough:
            packing = packings[pool.name]
            is_next = waiting.before(gang, pool.name) is None
            if is_next and (slots := packing.admit(gang, growing=growing)) is not None:
                return Placement(gang, pool.name, slots)
    unlimited = [pool for pool in large_enough if not packings[pool.name].is_limited(gang)]
    return _wait(gang, unlimited, packings, waiting) if unlimited else _wait_for_own(gang, large_enough[0])


def _cheapest_first(pool: PoolSlots) -> tuple[Decimal, str]:
    """What is there or coming is used before anything grows; a pool without a price comes last."""
    return (Decimal("Infinity") if pool.hourly_rate is None else pool.hourly_rate, pool.name)


def _no_pool(gang: Gang) -> Refusal | None:
    if gang.pool_ref is None:
        return None
    message = f"There is no usable GPUNodePool {gang.pool_ref}: create it, or name another one in compute.nodePoolRef."
    return Refusal(gang, Reason.POOL_NOT_FOUND, message)


def _too_small(gang: Gang, pools: Sequence[PoolSlots]) -> Refusal:
    largest = max(pools, key=lambda pool: (pool.gpus_per_node >= gang.gpus_per_node, pool.limit))
    message = (
        f"The job needs {gang.nodes} nodes with {gang.gpus_per_node} GPUs; GPUNodePool {largest.name} has at most "
        f"{largest.limit} with {largest.gpus_per_node}: raise its maxNodes or ask for less."
    )
    return Refusal(gang, Reason.POOL_TOO_SMALL, message)


def _wait(gang: Gang, pools: Sequence[PoolSlots], packings: Mapping[str, Packing], waiting: _Queue) -> Refusal:
    names = tuple(pool.name for pool in pools)
    why = "; ".join(_why(gang, pool, packings[pool.name], waiting.before(gang, pool.name)) for pool in pools)
    message = f"Waiting for {gang.nodes} nodes with {gang.gpus_per_node} GPUs: {why}."
    own_only = frozenset(
        name
        for name in names
        # Who waits for one that keeps itself out would otherwise hold the queue in its place.
        if packings[name].is_kept_out_by_own(gang)
        or packings[name].is_out_of_reach(gang)
        or waiting.of_own_before(gang, name) is not None
    )
    return Refusal(gang, Reason.WAITING_FOR_CAPACITY, message, names, own_only)


def _wait_for_own(gang: Gang, pool: PoolSlots) -> Refusal:
    """For the end of another job of its namespace: nobody else has to wait for that, so it holds nobody up."""
    message = (
        f"Waiting for other jobs of namespace {gang.namespace}, which may hold {pool.rules.max_nodes} nodes of "
        f"GPUNodePool {pool.name} (namespaceLimits.nodes)."
    )
    return Refusal(gang, Reason.NAMESPACE_LIMIT_REACHED, message)


def _why(gang: Gang, pool: PoolSlots, packing: Packing, ahead: Gang | None) -> str:
    if packing.is_kept_out_by_own(gang):
        kept = packing.kept_by_own(gang)
        return (
            f"{pool.name}: pods and jobs of namespace {gang.namespace} itself fill {kept} of its {pool.limit} nodes, "
            "and jobs of other namespaces go first until they end"
        )
    if ahead is not None:
        # Who reads this may have no right to see what others run.
        who = ahead.title if ahead.namespace == gang.namespace else "a job of another namespace"
        return f"{pool.name} serves {who} first"
    return f"{pool.name}: {pool.obstacle}" if pool.obstacle else f"{pool.name} is full"
