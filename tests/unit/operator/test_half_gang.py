"""Half a gang lets go of its nodes after a while, and the whole one is tried again."""

from datetime import timedelta

from masktrain_operator.core.half_gang import JITTER, PATIENCE
from tests.unit.operator.manifests import NOW
from tests.unit.operator.world import World

SCHEDULED = {"type": "PodScheduled", "status": "True", "lastTransitionTime": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}
UNSCHEDULABLE = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}


def half_started() -> World:
    world = World()
    world.settle()
    world.create_pods()
    for pod, condition in zip(world.pods.values(), (SCHEDULED, UNSCHEDULABLE), strict=True):
        pod["status"] = {"phase": "Pending", "conditions": [condition]}
        pod["spec"].pop("nodeName", None)
    next(iter(world.pods.values()))["spec"]["nodeName"] = "gpu-0"
    return world


def test_half_a_gang_waits_as_long_as_a_node_takes_to_come() -> None:
    world = half_started()
    world.wait(PATIENCE.total_seconds() - 1)
    asked_again = world.settle().requeue_after
    assert list(world.jobs) == ["masks-0"]
    assert asked_again is not None
    assert 0 < asked_again <= 1 + JITTER.total_seconds()


def test_then_it_lets_go_and_the_next_attempt_starts_when_its_pods_are_gone() -> None:
    world = half_started()
    world.wait((PATIENCE + JITTER).total_seconds())
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
    for pod in world.pods.values():
        pod["status"]["conditions"] = [SCHEDULED]
        pod["spec"]["nodeName"] = "gpu-0"
    world.wait(10 * PATIENCE.total_seconds())
    world.settle()
    assert list(world.jobs) == ["masks-0"]
