"""Each rule of a pool that a clock decides: nothing a second before, and from its moment on something."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.core.pools.deadlines import Verdict, next_change, upcoming
from masktrain_operator.core.pools.inventory import take_inventory
from masktrain_operator.core.pools.plan_pool import CALM_SECONDS, FLUX_SECONDS, plan_pool
from masktrain_operator.core.pools.types import PoolContext, PoolPlan
from masktrain_operator.core.times import format_time
from tests.unit.operator.core.pools.contexts import CREATED, FOREIGN, standing
from tests.unit.operator.core.pools.oracle_says import listing

AGE = 3600.0
NOW = CREATED + timedelta(seconds=AGE)
SOON = NOW + timedelta(seconds=3)
BACKOFF = {"failures": 1, "reason": "OutOfHostCapacity", "message": "Out of host capacity."}


def before(moment: datetime, seconds: float) -> str:
    return format_time(moment - timedelta(seconds=seconds))


def removals(*moments: datetime) -> list[str]:
    return [format_time(moment) for moment in moments]


NEVER_IDLE = {labels.IDLE_SINCE_ANNOTATION: None}
BUSY: dict[str, Any] = {"pods": (FOREIGN,), "annotations": NEVER_IDLE}
RULES: dict[Verdict, PoolContext] = {
    Verdict.MAY_ASK_AGAIN: standing(AGE, None, **BUSY, remembered={"backoff": {**BACKOFF, "until": format_time(SOON)}}),
    Verdict.MAINTENANCE_IS_OVER: standing(
        AGE, 600, metadata={"annotations": {labels.MAINTENANCE_ANNOTATION: format_time(SOON)}}
    ),
    Verdict.MAY_REMOVE_MORE: standing(
        AGE, 600, remembered={"recentRemovals": [before(SOON, 60)]}, scaleDown={"maxRemovalsPerMinute": 1}
    ),
    Verdict.REQUEST_IS_LOST: standing(
        AGE, None, **BUSY, remembered={"scaleUp": {"size": 3, "adds": 2, "requestedTime": before(SOON, 90)}}
    ),
    Verdict.POOL_IS_RELEASED: standing(AGE, None, **BUSY, metadata={"deletionTimestamp": before(SOON, 900)}),
    Verdict.NODE_IS_OVERDUE: standing(
        AGE,
        None,
        node={"gpus": 0},
        annotations=NEVER_IDLE,
        entry={"joinedTime": None, "state": "Booting"},
        provisioningTimeoutSeconds=int(AGE) + 3,
    ),
    Verdict.NODE_IS_LOST: standing(
        AGE, None, **BUSY, node={"ready": False, "ready_changed": SOON - timedelta(seconds=120)}
    ),
    Verdict.NODE_MAY_GO: standing(AGE, 117, idleSeconds=120),
    Verdict.CORDON_HAS_TAKEN_EFFECT: standing(
        AGE, 600, annotations={labels.REMOVAL_ANNOTATION: before(SOON, 5)}, node={"cordoned": True}
    ),
    Verdict.MONTHLY_COST_IS_SPENT: standing(
        AGE,
        60,
        entry={"namespaces": ["vision"], "chargedUntil": format_time(NOW)},
        remembered={"namespaces": [{"name": "vision", "nodes": 1, "month": "2026-01", "amount": "97"}]},
        hourlyPrice="3600",
        namespaceLimits={"monthlyCost": "100"},
    ),
    Verdict.NODE_LACKS_GPUS: standing(
        AGE,
        None,
        annotations=NEVER_IDLE,
        node={"gpus": 1, "ready_changed": SOON - timedelta(minutes=5)},
        entry={"joinedTime": None, "state": "Booting"},
        provisioningTimeoutSeconds=8000,
    ),
    Verdict.REMOVAL_IS_REPEATED: standing(
        AGE,
        None,
        annotations=NEVER_IDLE | {labels.REMOVAL_ANNOTATION: before(SOON, 100)},
        node={"cordoned": True},
        entry={"state": "Deleting", "removalRequestedTime": before(SOON, 90), "doomedTime": before(SOON, 90)},
    ),
    Verdict.REMOVAL_IS_STUCK: standing(
        AGE,
        None,
        **BUSY | {"annotations": NEVER_IDLE | {labels.REMOVAL_ANNOTATION: before(SOON, 1000)}},
        node={"cordoned": True},
        entry={"state": "Deleting", "removalRequestedTime": before(SOON, 990), "doomedTime": before(SOON, 900)},
    ),
    Verdict.INSTANCE_IS_UNLISTED: listing(
        standing(AGE, None, **BUSY, entry={"unlistedTime": before(SOON, 900)}), size=0
    ),
    Verdict.CHANGES_ARE_REFUSED: standing(
        AGE,
        None,
        **BUSY,
        remembered={"refusedChanges": {"since": before(SOON, 600), "message": "The versions do not fit."}},
    ),
}


def decisions(plan: PoolPlan) -> tuple[object, ...]:
    """All but the money and the time until the next look."""
    assert plan.status is not None
    nodes = [(entry.instance_id, entry.state, entry.removal_requested_time) for entry in plan.status.nodes]
    memory = (plan.status.scale_up, plan.status.backoff, nodes)
    return (plan.patches, plan.resize, plan.removals, plan.finalize, plan.events, memory)


def test_there_is_a_case_for_each_rule() -> None:
    assert RULES.keys() == set(Verdict)


@pytest.mark.parametrize("verdict", RULES)
def test_a_rule_decides_at_its_moment_and_asks_for_a_look_then(verdict: Verdict) -> None:
    context = RULES[verdict]
    inventory = take_inventory(context)
    assert next_change(context, inventory) == SOON
    assert (SOON, verdict) in upcoming(context, inventory)
    now, shortly_before, then = (
        plan_pool(replace(context, now=moment)) for moment in (NOW, SOON - timedelta(seconds=1), SOON)
    )
    assert now.requeue_after == 3
    assert decisions(shortly_before) == decisions(now)
    assert decisions(then) != decisions(now)


def test_without_a_moment_ahead_oracle_is_asked_now_and_then() -> None:
    assert plan_pool(standing(AGE, None, **BUSY)).requeue_after == CALM_SECONDS
    entry = {"joinedTime": None}
    booting = standing(
        AGE, None, node={"gpus": 0}, annotations=NEVER_IDLE, entry=entry, provisioningTimeoutSeconds=8000
    )
    assert plan_pool(booting).requeue_after == FLUX_SECONDS
