"""Pods that do not end by themselves."""

from datetime import timedelta

import pytest

from masktrain_operator.core.deadlines import HALF_GANG_JITTER, HALF_GANG_PATIENCE, is_stuck
from masktrain_operator.core.types import Manifest
from tests.unit.operator.manifests import NOW, at, ended_pod, pod, ready, terminating, with_condition
from tests.unit.operator.world import World


def evicted(manifest: Manifest, *, silent: float, reason: str = "DeletionByTaintManager") -> Manifest:
    """Evicted at NOW, after having been not ready for `silent` seconds."""
    manifest = with_condition(manifest, "Ready", "False", lastTransitionTime=at(-silent))
    return with_condition(manifest, "DisruptionTarget", reason=reason, lastTransitionTime=at(0))


@pytest.mark.parametrize(
    ("manifest", "stuck"),
    [
        (pod(), False),
        (terminating(pod(), until=0), False),
        (terminating(pod(), until=-29), False),
        (terminating(pod(), until=-30), True),
        (terminating(ended_pod(code=1), until=-1000), False),
        (evicted(pod(), silent=60), False),
        (terminating(evicted(pod(), silent=60), until=120), True),
        (terminating(evicted(pod(), silent=58), until=120), True),
        (terminating(evicted(pod(), silent=10), until=120), False),
        (terminating(evicted(pod(), silent=60, reason="EvictionByEvictionAPI"), until=120), False),
        (terminating(with_condition(ready(pod()), "DisruptionTarget", reason="DeletionByTaintManager"), 120), False),
    ],
    ids=[
        "running",
        "within its grace",
        "just over its grace",
        "30 s over its grace",
        "terminal already",
        "evicted but not deleted",
        "on a lost node",
        "on a lost node, clocks a little apart",
        "drained by a taint while not ready",
        "evicted by a drain",
        "drained by a taint while ready",
    ],
)
def test_a_pod_is_given_up_past_its_grace_or_with_its_node(manifest: Manifest, stuck: bool) -> None:
    assert is_stuck(manifest, NOW) is stuck


def lose_node(world: World, rank: int) -> None:
    """The node of that rank falls silent; a minute later its taint evicts the pod."""
    name = f"masks-0-{rank}-abcde"
    world.wait(60)
    silent_since = (world.now - timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%SZ")
    lost = pod(rank)
    lost = with_condition(lost, "Ready", "False", lastTransitionTime=silent_since)
    moment = world.now.strftime("%Y-%m-%dT%H:%M:%SZ")
    lost = with_condition(lost, "DisruptionTarget", reason="DeletionByTaintManager", lastTransitionTime=moment)
    world.pods[name] = lost
    world.ask_to_end(lost)


def test_a_lost_node_ends_the_attempt_by_force() -> None:
    world = World()
    world.settle()
    world.start_pods()
    world.settle()
    lose_node(world, 1)
    decided = world.reconcile()
    assert [(deletion.kind, deletion.name, deletion.grace_seconds) for deletion in decided.delete] == [
        ("Job", "masks-0", None),
        ("Pod", "masks-0-1-abcde", 0),
    ]
    assert all(deletion.uid for deletion in decided.delete)
    failure = world.status["restarts"]["lastFailure"]
    assert (failure["kind"], failure["reason"]) == ("Preempted", "NodeLost")
    assert "node-1" in failure["message"]
    assert world.status["restarts"]["withoutProgress"] == 0


def test_the_gang_after_a_lost_node_starts_when_the_other_pods_are_gone() -> None:
    world = World()
    world.settle()
    world.start_pods()
    world.settle()
    lose_node(world, 1)
    world.settle()
    world.wait(10)
    world.settle()
    assert world.jobs == {}
    world.remove_terminating()
    world.settle()
    assert list(world.jobs) == ["masks-1"]


def test_a_pod_that_ignores_its_grace_is_waited_for_exactly_that_long() -> None:
    world = World()
    world.settle()
    world.start_pods()
    world.settle()
    world.end_pod(1, 1)
    world.run_job_controller()
    world.settle()
    assert list(world.pods) == ["masks-0-0-abcde", "masks-0-1-abcde"]
    world.wait(149)
    assert world.settle().requeue_after == 1
    world.wait(1)
    world.settle()
    assert list(world.jobs) == ["masks-1"]
    assert world.status["restarts"]["lastFailure"]["reason"] == "Crashed", "what started it stays the cause"


SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


def half_started() -> World:
    world = World()
    world.settle()
    world.create_pods()
    for manifest, condition in zip(world.pods.values(), (SCHEDULED, UNSCHEDULABLE), strict=True):
        manifest["status"] = {"phase": "Pending", "conditions": [condition]}
        manifest["spec"].pop("nodeName", None)
    next(iter(world.pods.values()))["spec"]["nodeName"] = "gpu-0"
    return world


def test_half_a_gang_waits_as_long_as_a_node_takes_to_come() -> None:
    world = half_started()
    world.wait(HALF_GANG_PATIENCE.total_seconds() - 1)
    asked_again = world.settle().requeue_after
    assert list(world.jobs) == ["masks-0"]
    assert asked_again is not None
    assert 0 < asked_again <= 1 + HALF_GANG_JITTER.total_seconds()


def test_then_it_lets_go_and_the_next_attempt_starts_when_its_pods_are_gone() -> None:
    world = half_started()
    world.wait((HALF_GANG_PATIENCE + HALF_GANG_JITTER).total_seconds())
    world.settle()
    assert world.jobs == {}
    failure = world.status["restarts"]["lastFailure"]
    assert (failure["kind"], failure["reason"]) == ("Preempted", "GangIncomplete")
    assert "1 of 2 workers" in failure["message"]
    assert world.status["restarts"]["withoutProgress"] == 0
    world.remove_terminating()
    world.wait(timedelta(minutes=1).total_seconds())
    world.settle()
    assert list(world.jobs) == ["masks-1"]


def test_a_whole_gang_that_is_slow_to_start_is_left_alone() -> None:
    world = half_started()
    for manifest in world.pods.values():
        manifest["status"]["conditions"] = [SCHEDULED]
        manifest["spec"]["nodeName"] = "gpu-0"
    world.wait(10 * HALF_GANG_PATIENCE.total_seconds())
    world.settle()
    assert list(world.jobs) == ["masks-0"]
