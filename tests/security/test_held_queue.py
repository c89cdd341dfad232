"""Attacks on the queue of a pool by a job that it cannot hold: whoever came later waited for as long as that did."""

from dataclasses import replace

from masktrain_operator.core.pools.admission import admit
from tests.unit.operator.core.pools.gangs import gang, slots

MASKS = gang("masks", namespace="vision")
SHORTAGE = "AD-1: Out of host capacity. Next try at 08:15:00Z"


def test_a_gang_that_oracle_has_no_nodes_for_keeps_no_other_team_from_those_that_are_there() -> None:
    """Attack: ask for maxNodes where a service limit is lower: the pool's idle nodes were for nobody, for ever."""
    greedy = gang("greedy", nodes=8, age=100, namespace="theirs")
    another = gang("another", age=50, namespace="theirs")
    answers = admit([greedy, another, MASKS], [slots(free=(2, 2), limit=8, obstacle=SHORTAGE)])
    assert answers.placements.keys() == {MASKS.job_uid}, "its own namespace's younger jobs wait for it"
    assert SHORTAGE in answers.refusals[greedy.job_uid].message


def test_a_gang_that_needs_a_cordoned_node_keeps_no_other_team_waiting() -> None:
    """Attack: ask for all nodes while a person has one of them in repair."""
    pool = slots(free=(2, 2, 2))
    closed = replace(pool, slots=(replace(pool.slots[0], open=False), *pool.slots[1:]))
    greedy = gang("greedy", nodes=3, age=100, namespace="theirs")
    assert admit([greedy, MASKS], [closed]).placements.keys() == {MASKS.job_uid}


def test_once_the_pool_may_grow_it_keeps_its_place() -> None:
    large = gang("large", nodes=8, age=100, namespace="theirs")
    pool = slots(free=(0, 2), growable=6, limit=8)
    assert admit([large, MASKS], [pool]).placements == {}
    freed = slots(free=(2, 2), growable=6, limit=8)
    assert admit([large, MASKS], [freed]).placements.keys() == {large.job_uid}
