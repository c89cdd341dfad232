"""What a pool's conditions say, also of what another version of the operator has stored."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState
from masktrain_operator.core.pools.admission import Placement
from masktrain_operator.core.pools.conditions import with_invalid_spec, with_refused_writes
from masktrain_operator.core.pools.packing import NodeSlot
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.pools.types import PoolPlan
from masktrain_operator.core.shapes import SHAPES, Shape, image_for
from masktrain_operator.core.times import format_time
from tests.unit.operator.core.pools.contexts import CREATED, standing
from tests.unit.operator.core.pools.gangs import gang

NOW = CREATED + timedelta(hours=1)
LATER = NOW + timedelta(seconds=30)
BACKOFF = {"failures": 2, "until": format_time(LATER), "reason": "OutOfLuck", "message": "None left in AD-1."}
NEWER: dict[str, dict[str, Any]] = {
    "a node's state": {"entry": {"state": "Hibernating"}},
    "a reason": {"remembered": {"backoff": BACKOFF}},
    "a condition": {
        "remembered": {
            "conditions": [
                {"type": "Defragmented", "status": "Maybe", "reason": "New", "lastTransitionTime": format_time(NOW)}
            ]
        }
    },
    "a field of another kind": {"remembered": {"lastError": {"code": 7, "message": []}}},
}


def conditions(status: GPUNodePoolStatus) -> dict[str, tuple[str, str]]:
    return {found.type: (found.status.value, found.reason) for found in status.conditions}


@pytest.mark.parametrize("stored", NEWER.values(), ids=NEWER)
def test_what_another_version_has_stored_stops_no_plan(stored: dict[str, Any]) -> None:
    plan = plan_pool(standing(3600, 10, **stored))
    assert plan.status is not None
    assert conditions(plan.status)["Reachable"] == ("True", "Answered")
    assert [entry.state for entry in plan.status.nodes] == [NodeState.IDLE]


def test_a_reason_that_is_not_known_is_handed_on() -> None:
    status = plan_pool(standing(3600, 10, remembered={"backoff": BACKOFF})).status
    assert status is not None
    assert conditions(status)["CapacityAvailable"] == ("False", "OutOfLuck")


def test_refused_writes_are_said_until_they_are_accepted() -> None:
    never = with_refused_writes(GPUNodePoolStatus(), (), NOW)
    assert not never.conditions
    refused = with_refused_writes(never, ("Node a: hands off.", "Node b: hands off."), NOW)
    assert conditions(refused) == {"WriteRefused": ("True", "WriteRefused")}
    assert refused.conditions[0].message == "Node a: hands off. Node b: hands off."
    again = with_refused_writes(refused, ("Node a: hands off.",), LATER)
    assert again.conditions[0].last_transition_time == NOW
    assert conditions(with_refused_writes(again, (), LATER)) == {"WriteRefused": ("False", "Accepted")}


def test_a_spec_that_cannot_be_read_leaves_the_rest_of_the_status_alone() -> None:
    before = standing(3600, 10).status
    after = with_invalid_spec(before, 4, "spec.maxNodes: is missing.", NOW)
    assert conditions(after)["Stalled"] == ("True", "InvalidSpec")
    assert (after.nodes, after.observed_generation) == (before.nodes, 4)


def test_a_pool_for_everybody_says_so_in_one_event() -> None:
    """Also one of the version before, at its first look by this one; and again if the selector is taken away."""
    opened = plan_pool(standing(3600, 60))
    assert opened.status is not None
    assert [event.reason for event in opened.events] == ["AllNamespaces"]
    assert conditions(opened.status)["NamespacesRestricted"] == ("False", "AllNamespaces")
    known = {"conditions": [c.model_dump(mode="json", by_alias=True) for c in opened.status.conditions]}
    assert not plan_pool(standing(3600, 60, remembered=known)).events
    closed = plan_pool(standing(3600, 60, remembered=known, allowedNamespaces={"matchLabels": {"team": "a"}}))
    assert closed.status is not None
    assert not closed.events
    assert conditions(closed.status)["NamespacesRestricted"] == ("True", "SelectedNamespaces")


def of_shape(shape: str, **spec: Any) -> tuple[PoolPlan, dict[str, tuple[str, str]]]:
    """The plan of an empty pool whose two nodes a gang and `minNodes` ask for."""
    context = standing(3600, None, count=0, shape=shape, maxNodes=3, minNodes=1, **spec)
    grown = tuple(NodeSlot(str(number), 1, present=False, grown=True) for number in (1, 2))
    placements = (Placement(gang("masks", nodes=2), "gpu", grown),)
    plan = plan_pool(replace(context, observed=replace(context.observed, placements=placements)))
    assert plan.status is not None
    return plan, conditions(plan.status)


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_a_pool_grows_only_to_shapes_that_the_image_runs_on(shape: Shape) -> None:
    plan, found = of_shape(shape.name)
    assert plan.status is not None
    if image_for(shape.chip) is not None:
        assert found["ShapeSupported"] == ("True", "ImageRuns")
        assert found["Stalled"] == ("False", "Unstalled")
        assert plan.status.scale_up is not None
        return
    assert found["ShapeSupported"] == ("False", "ShapeNotSupported")
    assert found["Stalled"] == ("True", "ShapeNotSupported")
    assert (plan.status.scale_up, plan.resize) == (None, None)
    (event,) = [event for event in plan.events if event.reason == "ShapeNotSupported"]
    assert f"Shape {shape.name} has {shape.gpu} GPUs" in event.message
    assert "skipShapeCheck" in event.message


def test_a_growth_that_an_older_version_had_begun_is_not_carried_out() -> None:
    intended = {"size": 2, "adds": 2, "requestedTime": format_time(NOW - timedelta(seconds=120))}
    plan = plan_pool(standing(3600, None, count=0, shape="VM.GPU2.1", remembered={"scaleUp": intended}))
    assert plan.status is not None
    assert (plan.resize, plan.status.scale_up) == (None, None)


def test_whoever_builds_an_image_for_a_shape_says_so() -> None:
    plan, found = of_shape("BM.GPU.MI300X.8", skipShapeCheck=True)
    assert plan.status is not None
    assert found["ShapeSupported"] == ("Unknown", "ShapeNotChecked")
    assert found["Stalled"] == ("False", "Unstalled")
    assert plan.status.scale_up is not None


def test_an_unknown_shape_may_grow_and_says_once_that_nobody_checked_it() -> None:
    plan, found = of_shape("BM.GPU.B4.8", gpusPerNode=8, hourlyPrice="24.40")
    assert plan.status is not None
    assert found["ShapeSupported"] == ("Unknown", "ShapeNotChecked")
    assert found["Stalled"] == ("False", "Unstalled")
    assert plan.status.scale_up is not None
    assert [event.reason for event in plan.events].count("ShapeNotChecked") == 1
    known = {"conditions": [c.model_dump(mode="json", by_alias=True) for c in plan.status.conditions]}
    again, _ = of_shape("BM.GPU.B4.8", gpusPerNode=8, remembered=known)
    assert "ShapeNotChecked" not in [event.reason for event in again.events]


def test_an_unknown_shape_without_a_number_of_gpus_is_stalled() -> None:
    _, found = of_shape("BM.GPU.B4.8")
    assert found["Stalled"] == ("True", "UnknownShape")
    assert found["ShapeSupported"] == ("Unknown", "ShapeNotChecked")
