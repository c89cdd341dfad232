"""Who gets which nodes: by priority, then by age, whole or not at all, in the cheapest pool that suits."""

from dataclasses import replace
from typing import Any

import pytest

from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.gangs import Gang
from masktrain_operator.core.pools.admission import Admissions, admit
from masktrain_operator.core.pools.packing import NodeSlot, PoolSlots
from tests.unit.operator.core.pools.gangs import SHAPE_LABEL, gang, slots


def admitted(admissions: Admissions) -> dict[str, str]:
    """Pool by name of the gang."""
    return {placement.gang.name: placement.pool for placement in admissions.placements.values()}


def refused(admissions: Admissions) -> dict[str, Reason]:
    return {refusal.gang.name: refusal.reason for refusal in admissions.refusals.values()}


ORDERS = {
    "the older one first": ([gang("young", age=1), gang("old", age=9)], ["old"]),
    "priority before age": ([gang("old", age=9), gang("urgent", age=1, priority=5)], ["urgent"]),
    "the uid decides for those of one second": ([gang("b"), gang("a")], ["a"]),
    "all that fit": ([gang("a", gpus=1), gang("b", gpus=1)], ["a", "b"]),
    "one that runs already keeps its place": ([gang("new", priority=9), gang("runs", admitted_to="gpu")], ["runs"]),
}


@pytest.mark.parametrize(("gangs", "expected"), ORDERS.values(), ids=ORDERS)
def test_who_gets_the_only_node(gangs: list[Gang], expected: list[str]) -> None:
    assert sorted(admitted(admit(gangs, [slots(free=(2,))]))) == expected


@pytest.mark.parametrize(
    ("pool", "is_admitted"),
    [
        pytest.param(slots(free=(2, 2)), True, id="both nodes are there"),
        pytest.param(slots(free=(2,), growable=1), True, id="one is there, one may come"),
        pytest.param(slots(growable=2), True, id="both may come"),
        pytest.param(slots(free=(2,), limit=2), False, id="the other one may not come now"),
        pytest.param(slots(free=(2, 1), limit=2), False, id="the other one is half taken"),
        pytest.param(slots(free=(4,), gpus=4, limit=2), False, id="never two pods of a gang on a node"),
    ],
)
def test_a_gang_of_two_is_admitted_whole_or_not_at_all(pool: PoolSlots, is_admitted: bool) -> None:
    admissions = admit([gang("pair", nodes=2)], [pool])
    assert ("pair" in admitted(admissions)) == is_admitted
    assert all(len(set(placement.slots)) == 2 for placement in admissions.placements.values())
    if not is_admitted:
        assert refused(admissions) == {"pair": Reason.WAITING_FOR_CAPACITY}


def test_a_younger_gang_takes_nothing_from_one_that_waits() -> None:
    """Else a pair that waits for its second node would wait for as long as single ones keep coming."""
    admissions = admit([gang("pair", nodes=2, age=9), gang("single", age=1)], [slots(free=(2,), limit=2)])
    assert admitted(admissions) == {}
    assert "gpu serves vision/pair first" in admissions.refusals["uid-of-single"].message


def test_a_sentence_names_no_job_of_another_namespace() -> None:
    ahead, waiting = gang("pair", nodes=2, age=9), replace(gang("single", age=1), namespace="elsewhere")
    admissions = admit([ahead, waiting], [slots(free=(2,), limit=2)])

    message = admissions.refusals["uid-of-single"].message
    assert "gpu serves a job of another namespace first" in message
    assert "pair" not in message


def test_a_gang_that_waits_for_one_pool_holds_nobody_up_in_another() -> None:
    pools = [slots("a", free=(2,), limit=2), slots("b", free=(2,))]
    gangs = [gang("pair", nodes=2, age=9, pool_ref="a"), gang("single", age=1)]
    assert admitted(admit(gangs, pools)) == {"single": "b"}


def test_a_gang_no_pool_could_ever_hold_holds_nobody_up() -> None:
    gangs = [gang("giant", nodes=9, age=9), gang("single", age=1)]
    admissions = admit(gangs, [slots(free=(2,))])
    assert admitted(admissions) == {"single": "gpu"}
    assert refused(admissions) == {"giant": Reason.POOL_TOO_SMALL}


CHOICES = {
    "the cheapest": (gang("job"), "cheap"),
    "the one it names": (gang("job", pool_ref="dear"), "dear"),
    "the shape it asks for": (gang("job", node_selector={SHAPE_LABEL: "BM.GPU.H100.8"}), "large"),
    "other labels do not matter": (gang("job", node_selector={"team": "vision"}), "cheap"),
    "one with enough GPUs": (gang("job", gpus=8), "large"),
    "one with enough nodes": (gang("job", nodes=3), "dear"),
}


@pytest.mark.parametrize(("job", "pool"), CHOICES.values(), ids=CHOICES)
def test_which_pool_a_gang_goes_to(job: Gang, pool: str) -> None:
    pools = [
        slots("large", growable=2, gpus=8, rate="80", node_labels={SHAPE_LABEL: "BM.GPU.H100.8"}),
        slots("dear", growable=4, rate="6", node_labels={SHAPE_LABEL: "VM.GPU3.2"}),
        slots("cheap", growable=2, rate="4", node_labels={SHAPE_LABEL: "VM.GPU.A10.2"}),
    ]
    assert admitted(admit([job], pools)) == {"job": pool}


def test_a_dear_node_that_is_there_is_better_than_a_cheap_one_that_must_come() -> None:
    pools = [slots("cheap", growable=1, rate="4"), slots("dear", free=(2,), rate="6")]
    assert admitted(admit([gang("job")], pools)) == {"job": "dear"}


def test_a_pool_without_a_price_comes_last() -> None:
    unpriced = replace(slots("a", growable=1), hourly_rate=None)
    assert admitted(admit([gang("job")], [unpriced, slots("b", growable=1, rate="99")])) == {"job": "b"}


def test_without_capacity_in_the_cheap_pool_the_next_one_grows() -> None:
    pools = [slots("cheap", limit=4, obstacle="Out of host capacity."), slots("dear", growable=1, rate="6")]
    assert admitted(admit([gang("job")], pools)) == {"job": "dear"}


def test_a_job_that_names_a_pool_which_does_not_exist_is_told_so() -> None:
    admissions = admit([gang("job", pool_ref="typo")], [slots(free=(2,))])
    assert refused(admissions) == {"job": Reason.POOL_NOT_FOUND}
    assert "typo" in admissions.refusals["uid-of-job"].message


def test_a_job_that_no_pool_suits_is_none_of_the_pools_business() -> None:
    admissions = admit([gang("job", node_selector={SHAPE_LABEL: "VM.GPU3.1"})], [slots(node_labels={SHAPE_LABEL: "X"})])
    assert admissions == Admissions()


@pytest.mark.parametrize("is_present", [True, False])
def test_pods_are_made_once_all_nodes_are_there(is_present: bool) -> None:
    pool = replace(slots(limit=2), slots=(NodeSlot("gpu-1", 2), NodeSlot("gpu-2", 2, present=is_present)))
    (placement,) = admit([gang("pair", nodes=2)], [pool]).placements.values()
    assert placement.is_present is is_present


def test_a_gang_that_lost_a_node_gets_another_one_before_all_that_wait() -> None:
    runs = gang("runs", nodes=2, admitted_to="gpu", placed_on=frozenset({"gpu-1"}))
    admissions = admit([gang("waits", age=99, priority=9), runs], [slots(free=(2, 2), limit=2)])
    assert admissions.placements["uid-of-runs"].node_names == {"gpu-1", "gpu-2"}
    assert "waits" not in admitted(admissions)


def test_a_deleted_gang_holds_its_nodes_and_gets_none_instead_of_one_that_is_lost() -> None:
    ends = gang("ends", nodes=2, admitted_to="gpu", placed_on=frozenset({"gpu-1", "lost"}), is_deleted=True)
    (placement,) = admit([ends], [slots(free=(2, 2), growable=2)]).placements.values()
    assert placement.node_names == {"gpu-1"}


@pytest.mark.parametrize(("free", "is_admitted"), [((2, 2), True), ((2, 0), False)])
def test_the_pods_of_an_unproven_batch_job_count_and_bring_it_no_nodes_early(
    free: tuple[int, ...], is_admitted: bool
) -> None:
    forged = gang("forged", nodes=2, placed_on=frozenset({"gpu-1"}))
    nodes = replace(slots(free=free), limit=2)
    assert ("forged" in admitted(admit([forged], [nodes]))) is is_admitted
    older = gang("older", nodes=2, age=9)
    assert admitted(admit([older, forged], [nodes])) == {}


REFUSES: dict[str, Any] = {"unsupported": "Shape VM.GPU2.1 has P100 GPUs.", "rate": "1"}


def test_a_pool_that_no_image_runs_on_gets_no_gang_however_cheap_it_is() -> None:
    pools = [slots("old", free=(2, 2), **REFUSES), slots("new", growable=2, rate="9")]
    assert admitted(admit([gang("masks", nodes=2)], pools)) == {"masks": "new"}


@pytest.mark.parametrize("pool_ref", ["old", None], ids=["named", "the only one"])
def test_a_gang_that_only_such_a_pool_could_have_is_told_why(pool_ref: str | None) -> None:
    admissions = admit([gang("masks", pool_ref=pool_ref)], [slots("old", free=(2,), growable=1, **REFUSES)])
    assert admitted(admissions) == {}
    assert refused(admissions) == {"masks": Reason.SHAPE_NOT_SUPPORTED}
    message = admissions.refusals["uid-of-masks"].message
    assert message == "GPUNodePool old cannot be used: Shape VM.GPU2.1 has P100 GPUs."


def test_a_gang_with_an_own_image_names_the_pool_that_lets_it_in() -> None:
    pools = [slots("old", growable=2, takes_own_images=True, **REFUSES), slots("new", growable=1, rate="9")]
    gangs = [gang("own", age=9, pool_ref="old"), gang("plain", age=1)]
    assert admitted(admit(gangs, pools)) == {"own": "old", "plain": "new"}


def test_a_gang_at_work_keeps_its_nodes_there_and_gets_no_more() -> None:
    at_work = gang("masks", nodes=2, admitted_to="old", placed_on=frozenset({"old-1"}))
    (placement,) = admit([at_work], [slots("old", free=(2, 2), growable=2, **REFUSES)]).placements.values()
    assert [slot.name for slot in placement.slots] == ["old-1"]


MISFITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "GPUs of another maker": ({"gpu_resource": "amd.com/gpu"}, {"maker": "NVIDIA"}),
    "slices of another maker's": ({"gpu_resource": "nvidia.com/mig-1g.10gb"}, {"maker": "AMD"}),
    "another architecture": (
        {"node_selector": {"kubernetes.io/arch": "arm64"}},
        {"node_labels": {"kubernetes.io/arch": "amd64"}},
    ),
    "another compute capability": (
        {"node_selector": {"nvidia.com/gpu.compute.major": "9"}},
        {"node_labels": {"nvidia.com/gpu.compute.major": "8"}},
    ),
}


@pytest.mark.parametrize(("job", "pool"), MISFITS.values(), ids=MISFITS)
@pytest.mark.parametrize("named", [False, True])
def test_no_node_is_bought_for_pods_that_could_never_run_there(
    job: dict[str, Any], pool: dict[str, Any], named: bool
) -> None:
    waiting = gang("masks", pool_ref="gpu" if named else None, **job)
    answer = admit((waiting,), (slots("gpu", growable=2, **pool),))
    assert not answer.placements
    assert {refusal.reason for refusal in answer.refusals.values()} == (
        {Reason.SHAPE_NOT_SUPPORTED} if named else set()
    )


@pytest.mark.parametrize("resource", ["nvidia.com/gpu", "example.org/gpu"])
def test_what_nobody_knows_not_to_fit_is_tried(resource: str) -> None:
    waiting = gang("masks", gpu_resource=resource)
    assert admit((waiting,), (slots("gpu", growable=2, maker="NVIDIA"),)).placements
    assert admit((waiting,), (slots("gpu", growable=2),)).placements
