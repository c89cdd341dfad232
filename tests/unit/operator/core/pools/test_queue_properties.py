"""Who holds up whom: whoever waits keeps its place, but nobody waits for what only another namespace can end."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_operator.core.gangs import Gang
from masktrain_operator.core.pools.admission import Admissions, admit
from masktrain_operator.core.pools.packing import NodeSlot, PoolSlots
from tests.unit.operator.core.pools.gangs import gang, slots

GPUS = 2
TEAMS = st.sampled_from(["a", "b", "c"])
WAITING = st.tuples(TEAMS, st.integers(1, 4), st.integers(1, GPUS), st.sampled_from([0, 0, 0, 5]))
TAKEN = st.dictionaries(TEAMS, st.integers(1, GPUS), max_size=2).filter(lambda taken: sum(taken.values()) <= GPUS)
NODE = st.tuples(TAKEN, st.none() | TEAMS)
"""What plain pods have of its GPUs, and whose gang is at work there, if there is room."""
often = settings(max_examples=400, deadline=None, derandomize=True)


def slot(name: str, taken: dict[str, int]) -> NodeSlot:
    return NodeSlot(name, GPUS - sum(taken.values()), gpus=GPUS, taken=tuple(sorted(taken.items())))


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[Gang], PoolSlots]:
    """Gangs of one GPU at work, gangs that wait, and a pool that may grow by what it has not."""
    nodes = draw(st.lists(NODE, max_size=4))
    there = tuple(slot(f"gpu-{number}", taken) for number, (taken, _) in enumerate(nodes))
    at_work = [
        gang(f"runs-{found.name}", gpus=1, namespace=team, admitted_to="gpu", placed_on=frozenset({found.name}))
        for found, (_, team) in zip(there, nodes, strict=True)
        if team is not None and found.free_gpus > 0
    ]
    growable = draw(st.integers(0, 2))
    waiting = [
        gang(f"waits-{number}", count, gpus, namespace=team, priority=priority, age=-number)
        for number, (team, count, gpus, priority) in enumerate(draw(st.lists(WAITING, min_size=1, max_size=6)))
    ]
    return [*at_work, *waiting], replace(slots(growable=growable, limit=len(there) + growable), slots=there)


def only_own_can_unblock(waits: Gang, answers: Admissions, pool: PoolSlots) -> bool:
    """Whether it would not start on the pool's nodes, of which its namespace keeps what it has and nobody else any."""
    # What came to others before it in turn counts; what came after it would not be there.
    own: Counter[str] = Counter()
    for placed in answers.placements.values():
        is_before = placed.gang.admitted_to is not None or placed.gang.turn < waits.turn
        if placed.gang.namespace == waits.namespace and is_before:
            own.update({found.name: placed.gang.gpus_per_node for found in placed.slots})
    for found in pool.slots:
        own[found.name] += dict(found.taken).get(waits.namespace, 0)
    names = [*(found.name for found in pool.slots), *(str(number) for number in range(1, pool.growable + 1))]
    left = tuple(NodeSlot(name, GPUS - own[name]) for name in names)
    return waits.job_uid not in admit([waits], [replace(pool, slots=left, growable=0)]).placements


@often
@given(queues())
def test_nobody_waits_for_a_gang_that_only_its_own_namespace_can_unblock(queue: tuple[list[Gang], PoolSlots]) -> None:
    gangs, pool = queue
    answers = admit(gangs, [pool])
    for refusal in answers.refusals.values():
        waits = refusal.gang
        if refusal.pools and only_own_can_unblock(waits, answers, pool):
            # Its own namespace's younger ones still wait for it: they would keep it out for ever.
            others = [g for g in gangs if g.namespace != waits.namespace or g.turn < waits.turn or g.admitted_to]
            without = admit(others, [pool])
            assert {uid: placed for uid, placed in answers.placements.items() if placed.gang in others} == dict(
                without.placements
            )


@often
@given(queues())
def test_a_gang_whose_namespace_holds_nothing_is_overtaken_by_nobody(queue: tuple[list[Gang], PoolSlots]) -> None:
    gangs, pool = queue
    answers = admit(gangs, [pool])
    holding = {placed.gang.namespace for placed in answers.placements.values()}
    holding |= {team for found in pool.slots for team, _ in found.taken}
    for refusal in answers.refusals.values():
        if refusal.pools and refusal.gang.namespace not in holding:
            started = [p.gang for p in answers.placements.values() if p.gang.admitted_to is None]
            assert all(other.turn < refusal.gang.turn for other in started)


@often
@given(queues())
def test_in_one_namespace_nobody_is_overtaken(queue: tuple[list[Gang], PoolSlots]) -> None:
    """A cluster without teams: a gang that waits for its own namespace's jobs keeps its place before the younger."""
    gangs, pool = queue
    gangs = [replace(each, namespace="vision") for each in gangs]
    answers = admit(gangs, [pool])
    started = [placed.gang for placed in answers.placements.values() if placed.gang.admitted_to is None]
    for refusal in answers.refusals.values():
        assert not refusal.pools or all(other.turn < refusal.gang.turn for other in started)


def kept(*taken: dict[str, int], limit: int = 2) -> PoolSlots:
    there = tuple(slot(f"gpu-{number}", each) for number, each in enumerate(taken, 1))
    return replace(slots(growable=limit - len(there), limit=limit), slots=there)


def test_a_pod_of_its_own_that_never_ends_keeps_a_gang_waiting_and_nobody_else() -> None:
    greedy, other = gang("all", nodes=2, age=9, namespace="b"), gang("single", age=1, namespace="a")
    answers = admit([greedy, other], [kept({"b": 1})])
    assert set(answers.placements) == {"uid-of-single"}
    message = answers.refusals["uid-of-all"].message
    assert "pods and jobs of namespace b itself fill 1 of its 2 nodes" in message
    assert answers.waiting_for("gpu") == 1

    assert set(admit([greedy, other], [kept({})]).placements) == {"uid-of-all"}, "its pod is gone: it is next again"


def test_the_pod_of_another_namespace_is_waited_for_by_all() -> None:
    waits, other = gang("all", nodes=2, age=9, namespace="b"), gang("single", age=1, namespace="a")
    answers = admit([waits, other], [kept({"c": 1})])
    assert not answers.placements
    assert "serves a job of another namespace first" in answers.refusals["uid-of-single"].message


def test_a_young_gang_behind_one_of_its_own_does_not_hold_the_queue_in_its_place() -> None:
    gangs = [
        gang("all", nodes=2, age=9, namespace="b"),
        gang("second", age=5, namespace="b"),
        gang("other", age=1, namespace="a"),
    ]
    answers = admit(gangs, [kept({"b": 1})])
    assert set(answers.placements) == {"uid-of-other"}
    assert "gpu serves b/all first" in answers.refusals["uid-of-second"].message
