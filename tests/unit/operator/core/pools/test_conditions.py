"""What a pool's conditions say, also of what another version of the operator has stored."""

from datetime import timedelta
from typing import Any

import pytest

from masktrain_operator.api.pool_status import GPUNodePoolStatus, NodeState
from masktrain_operator.core.pools.conditions import with_invalid_spec, with_refused_writes
from masktrain_operator.core.pools.plan_pool import plan_pool
from masktrain_operator.core.times import format_time
from tests.unit.operator.core.pools.contexts import CREATED, standing

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
