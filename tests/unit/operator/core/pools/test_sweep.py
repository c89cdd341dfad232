"""What is done for a pool while no operator runs, and what never."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from masktrain_operator.api import labels
from masktrain_operator.api.pool_status import NodeState
from masktrain_operator.api.v1alpha1 import GPUNodePool
from masktrain_operator.core.gangs import Gang
from masktrain_operator.core.pools.admission import Placement
from masktrain_operator.core.pools.nodes import KubeNode
from masktrain_operator.core.pools.oke import OkeNode, OkePool
from masktrain_operator.core.pools.packing import NodeSlot
from masktrain_operator.core.pools.plan_pool import is_stale, is_stuck, is_under_way, plan_pool, sweep_plan, sweepable
from masktrain_operator.core.pools.types import ObservedPool, PoolContext
from masktrain_operator.core.times import format_time

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
AN_HOUR_AGO = NOW - timedelta(hours=1)
BEGUN = NOW - timedelta(seconds=10)


def oke_pool(*instances: str) -> OkePool:
    nodes = tuple(OkeNode(instance, instance, "ACTIVE", "AD-1") for instance in instances)
    return OkePool(
        "ocid1.nodepool.x", "gpu", "cluster", "compartment", "ACTIVE", "", len(nodes), "e", "VM.GPU3.2", False, nodes
    )


def kube_node(instance: str, annotations: dict[str, str]) -> KubeNode:
    return KubeNode(
        name=f"node-{instance}",
        uid=f"uid-{instance}",
        resource_version="1",
        instance_id=instance,
        ready=True,
        ready_changed=AN_HOUR_AGO,
        initialising=False,
        cordoned=labels.REMOVAL_ANNOTATION in annotations,
        gpus=2,
        labels={},
        annotations={labels.IDLE_SINCE_ANNOTATION: format_time(AN_HOUR_AGO), **annotations},
        pods=(),
    )


def entry(instance: str, **fields: Any) -> dict[str, Any]:
    created = {"createdTime": AN_HOUR_AGO.isoformat(), "joinedTime": AN_HOUR_AGO.isoformat()}
    return {"instanceId": instance, "state": "Idle", "addedByOperator": True, **created, **fields}


def context(
    *instances: str,
    annotations: dict[str, str] | None = None,
    metadata: dict[str, Any] | None = None,
    placements: tuple[Placement, ...] = (),
    **spec: Any,
) -> PoolContext:
    """A pool of the operator's nodes, all of them idle for an hour; `annotations` are those of the Nodes."""
    pool = GPUNodePool.parse(
        {
            "metadata": {"name": "gpu", "uid": "u", "creationTimestamp": AN_HOUR_AGO.isoformat(), **(metadata or {})},
            "spec": {"nodePoolId": "ocid1.nodepool.x", "region": "us-ashburn-1", "maxNodes": 4, **spec},
            "status": {"addedNodes": len(instances), "nodes": [entry(instance) for instance in instances]},
        }
    )
    nodes = tuple(kube_node(instance, annotations or {}) for instance in instances)
    return PoolContext(pool, ObservedPool(oke_pool(*instances), nodes, placements), NOW)


def placement(*nodes: str, admitted: bool, grown: bool = False) -> Placement:
    gang = Gang("job", "vision", "masks", len(nodes), 2, AN_HOUR_AGO, admitted_to="gpu" if admitted else None)
    return Placement(gang, "gpu", tuple(NodeSlot(name, 2, grown=grown) for name in nodes))


def cordoned(found: PoolContext) -> list[str]:
    patches = sweep_plan(found).patches
    return [patch.name for patch in patches if patch.body.get("spec", {}).get("unschedulable")]


@pytest.mark.parametrize(
    ("age", "stale"),
    [
        (None, True),
        (timedelta(seconds=301), True),
        (timedelta(seconds=300), False),
        (timedelta(seconds=1), False),
        (timedelta(seconds=-40), False),
        (timedelta(seconds=-301), True),
        (timedelta(days=-365 * 74), True),
    ],
)
def test_an_operator_is_gone_when_its_last_sign_of_life_is_too_old(age: timedelta | None, stale: bool) -> None:
    assert is_stale(age, timedelta(seconds=300)) is stale


def test_only_pools_that_an_operator_has_looked_after_are_swept() -> None:
    pools: list[dict[str, Any]] = [{"spec": {}}, {"status": {}}, {"status": {"size": 0}}]

    assert list(sweepable(pools)) == [{"status": {"size": 0}}]


def test_an_idle_node_is_cordoned_first_and_removed_once_that_has_settled() -> None:
    assert cordoned(context("a")) == ["node-a"]
    assert not sweep_plan(context("a")).removals

    settled = context("a", annotations={labels.REMOVAL_ANNOTATION: format_time(BEGUN)})
    assert [removal.instance_id for removal in sweep_plan(settled).removals] == ["a"]


def test_a_gang_that_has_started_keeps_its_nodes_and_one_that_waits_does_not() -> None:
    assert cordoned(context("a", "b", placements=(placement("node-a", admitted=True),))) == ["node-b"]
    assert cordoned(context("a", placements=(placement("node-a", admitted=False),))) == ["node-a"]


@pytest.mark.parametrize(
    "wish",
    [
        {"placements": (placement("1", "2", admitted=False, grown=True),)},
        {"placements": (placement("1", admitted=True, grown=True),)},
        {"minNodes": 3},
    ],
)
def test_no_pool_ever_grows(wish: dict[str, Any]) -> None:
    found = context("a", **wish)
    assert plan_pool(found).status != sweep_plan(found).status

    plan = sweep_plan(found)

    assert plan.resize is None
    assert plan.status is not None
    assert (plan.status.scale_up, plan.status.added_nodes) == (None, 1)
    assert not [event for event in plan.events if event.reason == "ScalingUp"]


@pytest.mark.parametrize(
    "wish",
    [
        {"paused": True},
        {"metadata": {"annotations": {labels.MAINTENANCE_ANNOTATION: "true"}}},
        {"scaleDown": {"enabled": False}},
        {"minNodes": 1},
        {"annotations": {labels.KEEP_ANNOTATION: "true"}},
    ],
)
def test_what_people_asked_to_keep_is_kept(wish: dict[str, Any]) -> None:
    found = context("a", **wish)

    assert cordoned(found) == []
    assert not sweep_plan(found).removals


def test_a_deleted_pool_loses_its_nodes_but_is_let_go_by_the_operator_alone() -> None:
    deleted = {"deletionTimestamp": AN_HOUR_AGO.isoformat(), "finalizers": [labels.POOL_FINALIZER]}
    found = context("a", metadata=deleted)

    assert plan_pool(found).finalize
    assert not sweep_plan(found).finalize
    assert cordoned(found) == ["node-a"]
    assert "NodesAbandoned" not in {event.reason for event in sweep_plan(found).events}


def test_nodes_that_a_person_wants_to_outlive_their_pool_are_left_running() -> None:
    wish = {"annotations": {labels.ABANDON_ANNOTATION: "true"}}
    found = context("a", metadata={"deletionTimestamp": NOW.isoformat(), **wish})

    plan = sweep_plan(found)

    assert (plan.patches, plan.removals, plan.status) == ((), (), None)


@pytest.mark.parametrize(
    ("change", "under_way"),
    [
        ({}, False),
        ({"state": NodeState.DRAINING}, True),
        ({"state": NodeState.DELETING}, True),
        ({"state": NodeState.DELETING, "added_by_operator": False}, False),
    ],
)
def test_what_was_begun_is_seen_to_its_end(change: dict[str, Any], under_way: bool) -> None:
    found = context("a", paused=True)
    plan = sweep_plan(found)
    assert plan.status is not None
    nodes = [node.model_copy(update=change) for node in plan.status.nodes]

    assert is_under_way(found, plan, plan.status.model_copy(update={"nodes": nodes})) is under_way


def test_nodes_that_wait_for_the_limit_of_removals_a_minute_are_waited_for() -> None:
    found = context("a", scaleDown={"maxRemovalsPerMinute": 1})
    status = found.pool.status.model_copy(update={"recent_removals": [BEGUN]})
    found = replace(found, pool=found.pool.model_copy(update={"status": status}))
    plan = sweep_plan(found)

    assert plan.status is not None
    assert cordoned(found) == []
    assert is_under_way(found, plan, plan.status)


@pytest.mark.parametrize(
    ("age", "stuck"),
    [(None, False), (timedelta(seconds=599), False), (timedelta(seconds=601), True), (timedelta(days=-2), True)],
)
def test_a_pool_that_a_living_operator_has_long_not_looked_at(age: timedelta | None, stuck: bool) -> None:
    """An older operator says nothing of its looks; a time far ahead would hold for years."""
    assert is_stuck(age, timedelta(seconds=600)) is stuck
