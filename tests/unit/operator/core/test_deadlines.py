"""Pods that do not end by themselves."""

from datetime import timedelta
from decimal import Decimal

import pytest

from masktrain_operator.api.conditions import Reason
from masktrain_operator.core.deadlines import HALF_GANG_JITTER, HALF_GANG_PATIENCE, forced_end, verdict_of
from masktrain_operator.core.times import format_time
from masktrain_operator.core.types import Capacity, Manifest, NodeRate, Plan
from tests.unit.operator.manifests import NOW, at, ended_pod, pod, ready, terminating, with_condition
from tests.unit.operator.pool_world import FULL, bound, on_pool
from tests.unit.operator.world import SCHEDULED, World, half_started, leave_half_pending


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
    assert (verdict_of([forced_end(manifest)], NOW) is not None) is stuck


def lose_node(world: World, rank: int) -> None:
    """The node of that rank falls silent; a minute later its taint evicts the pod."""
    name = f"masks-0-{rank}-abcde"
    world.wait(60)
    silent_since = format_time(world.now - timedelta(seconds=60))
    lost = pod(rank)
    lost = with_condition(lost, "Ready", "False", lastTransitionTime=silent_since)
    moment = format_time(world.now)
    lost = with_condition(lost, "DisruptionTarget", reason="DeletionByTaintManager", lastTransitionTime=moment)
    world.pods[name] = lost
    world.ask_to_end(lost)


def test_a_lost_node_ends_the_attempt_by_force() -> None:
    world = World()
    world.run_operator()
    world.start_pods()
    world.run_operator()
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
    world.run_operator()
    world.start_pods()
    world.run_operator()
    lose_node(world, 1)
    world.run_operator()
    world.wait(10)
    world.run_operator()
    assert world.jobs == {}
    world.remove_terminating()
    world.run_operator()
    assert list(world.jobs) == ["masks-1"]


def test_a_pod_that_ignores_its_grace_is_waited_for_exactly_that_long() -> None:
    world = World()
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_pod(1, 1)
    world.run_job_controller()
    world.run_operator()
    assert list(world.pods) == ["masks-0-0-abcde", "masks-0-1-abcde"]
    world.wait(149)
    assert world.run_operator().requeue_after == 1
    world.wait(1)
    world.run_operator()
    assert list(world.jobs) == ["masks-1"]
    assert world.status["restarts"]["lastFailure"]["reason"] == "Crashed", "what started it stays the cause"


def test_half_a_gang_waits_as_long_as_a_node_takes_to_come() -> None:
    world = half_started()
    world.wait(HALF_GANG_PATIENCE.total_seconds() - 1)
    asked_again = world.run_operator().requeue_after
    assert list(world.jobs) == ["masks-0"]
    assert asked_again is not None
    assert 0 < asked_again <= 1 + HALF_GANG_JITTER.total_seconds()


def test_then_it_lets_go_and_the_next_attempt_starts_when_its_pods_are_gone() -> None:
    world = half_started()
    world.wait((HALF_GANG_PATIENCE + HALF_GANG_JITTER).total_seconds())
    world.run_operator()
    assert world.jobs == {}
    failure = world.status["restarts"]["lastFailure"]
    assert (failure["kind"], failure["reason"]) == ("Preempted", "GangIncomplete")
    assert "1 of 2 workers" in failure["message"]
    assert world.status["restarts"]["withoutProgress"] == 0
    world.remove_terminating()
    world.wait(timedelta(minutes=1).total_seconds())
    world.run_operator()
    assert list(world.jobs) == ["masks-1"]


def test_a_whole_gang_that_is_slow_to_start_is_left_alone() -> None:
    world = half_started()
    for manifest in world.pods.values():
        manifest["status"]["conditions"] = [SCHEDULED]
        manifest["spec"]["nodeName"] = "gpu-0"
    world.wait(10 * HALF_GANG_PATIENCE.total_seconds())
    world.run_operator()
    assert list(world.jobs) == ["masks-0"]


def test_a_ttl_of_nothing_deletes_at_once() -> None:
    world = World(limits={"ttlSecondsAfterFinished": 0})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_all(0)
    assert world.reconcile().requeue_after == 0
    world.reconcile()
    assert (world.jobs, world.service) == ({}, None)
    assert world.reconcile() == Plan()


MISSING = Capacity(is_ready=False, reason=Reason.POOL_NOT_FOUND, message="There is no v100.")


@pytest.mark.parametrize("capacity", [FULL, MISSING], ids=["waiting", "stalled"])
def test_the_start_deadline_counts_whatever_the_job_waits_for(capacity: Capacity) -> None:
    world = World(limits={"startDeadlineSeconds": 600})
    world.capacity = capacity
    assert world.run_operator().requeue_after == 600
    world.pass_time(600)
    assert world.condition("Failed")["reason"] == "CapacityNotFound"
    assert capacity.message in world.condition("Failed")["message"]


def test_the_start_deadline_counts_on_when_the_job_is_stalled_in_between() -> None:
    world = World(limits={"startDeadlineSeconds": 600})
    for capacity in (FULL, MISSING, FULL):
        world.capacity = capacity
        world.run_operator()
        world.wait(200)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CapacityNotFound"


def test_a_job_of_somebody_else_in_the_way_is_waited_for_no_longer_than_the_start_deadline() -> None:
    world = World(limits={"startDeadlineSeconds": 600})
    world.foreign_jobs = ("masks-0",)
    world.pass_time(600)
    assert world.condition("Failed")["reason"] == "CapacityNotFound"


def test_the_operators_own_back_off_and_the_end_of_old_pods_do_not_count_as_waiting() -> None:
    world = World(limits={"startDeadlineSeconds": 5})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_pod(1, 1)
    world.run_job_controller()
    world.run_operator()
    world.wait(9)
    world.run_operator()
    assert not world.is_true("Failed"), "the back-off of 10 s"
    world.wait(100)
    world.run_operator()
    assert world.condition("Reconciling")["reason"] == "WaitingForOldPods"
    world.remove_terminating()
    world.run_job_controller()
    world.run_operator()
    assert world.status["attempt"] == 1
    world.wait(4)
    world.run_operator()
    assert not world.is_true("Failed")
    world.wait(1)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CapacityNotFound", "each attempt has the whole time"


def test_a_gang_of_which_there_is_only_ever_half_waits_no_longer_than_the_start_deadline() -> None:
    """However many attempts that takes; the pauses between them are the operator's own."""
    world = half_started(limits={"startDeadlineSeconds": 1800})
    world.is_woken = True
    begin = world.now
    while not world.is_true("Failed"):
        assert world.now - begin < timedelta(seconds=3600)
        world.pass_time(10)
        world.remove_terminating()
        leave_half_pending(world)
        world.is_woken = True
    assert world.condition("Failed")["reason"] == "CapacityNotFound"
    assert world.status["attempt"] >= 2
    pauses = timedelta(seconds=sum(10 * 2**number for number in range(world.status["attempt"])))
    late = world.now - begin - timedelta(seconds=1800) - pauses
    assert timedelta(0) <= late <= timedelta(seconds=10)


def test_an_old_pod_that_may_not_be_deleted_is_waited_for_no_longer_than_the_start_deadline() -> None:
    world = World(limits={"startDeadlineSeconds": 600})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_pod(1, 1)
    world.run_job_controller()
    world.is_woken = True
    world.refused_writes = {("delete", "Pod")}
    world.pass_time(749)
    assert world.condition("Reconciling")["reason"] == "WaitingForOldPods"
    world.pass_time(1)
    assert world.condition("Failed")["reason"] == "CapacityNotFound", "150 s of grace and patience do not count"
    assert "masks-0-0-abcde" in world.condition("Failed")["message"]


def test_a_clock_that_is_set_back_prolongs_no_back_off() -> None:
    world = World()
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.end_all(1)
    world.run_operator()
    world.wait(-3600)
    world.run_operator()
    assert list(world.jobs) == ["masks-0", "masks-1"]


def test_a_clock_that_is_set_back_prolongs_no_refusal() -> None:
    world = World()
    world.refused_writes = {("create", "Job")}
    world.reconcile()
    world.refused_writes = set()
    world.wait(-3600)
    world.run_operator()
    assert list(world.jobs) == ["masks-0"]


def test_a_cost_limit_is_looked_at_when_it_will_be_reached_even_if_nobody_can_be_asked() -> None:
    world = World(limits={"maxCost": "3.00"})
    world.capacity = Capacity(
        is_ready=True, reason=Reason.WAITING_FOR_NODES, message="", pool="v100", hourly_rate=Decimal(36)
    )
    world.run_operator()
    world.create_pods()
    for rank, manifest in enumerate(world.pods.values()):
        world.node_rates[f"node-{rank}"] = NodeRate(Decimal(36), 1, NOW)
        manifest["status"] = {"phase": "Pending", "conditions": [SCHEDULED]}
    assert world.run_operator().requeue_after == 150
    world.pass_time(150)
    assert world.condition("Failed")["reason"] == "CostLimitReached"


def test_capacity_that_does_not_come_in_time_fails_the_job() -> None:
    world = on_pool(FULL, limits={"startDeadlineSeconds": 600})
    assert world.run_operator().requeue_after == 600
    world.wait(600)
    world.run_operator()
    failed = world.condition("Failed")
    assert failed["reason"] == "CapacityNotFound"
    assert "600 s" in failed["message"]
    assert "v100 is full" in failed["message"]


def test_the_start_deadline_is_over_once_all_workers_run() -> None:
    world = World(limits={"startDeadlineSeconds": 600})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.wait(10_000)
    world.run_operator()
    assert not world.is_true("Failed")


def test_at_its_cost_limit_the_job_stops() -> None:
    world = on_pool(limits={"maxCost": "3.00"})
    world.run_operator()
    bound(world, scheduled=0, started=60)
    world.wait(600)
    world.run_operator()
    assert not world.is_true("Failed")
    world.wait(600)
    world.run_operator()
    assert world.condition("Failed")["reason"] == "CostLimitReached"
    assert "3.00" in world.condition("Failed")["message"]
    assert world.jobs == {}
    assert all("deletionTimestamp" in pod["metadata"] for pod in world.pods.values())


def test_kubernetes_itself_ends_what_outlives_the_limit() -> None:
    """A second fence, should the operator be gone or misled: what remains of the limit, the grace, ten minutes."""
    world = World(limits={"activeDeadlineSeconds": 3600, "stopGraceSeconds": 300})
    world.run_operator()
    assert world.jobs["masks-0"]["spec"]["activeDeadlineSeconds"] == 3600 + 300 + 600

    world.start_pods()
    world.wait(1000)
    world.end_all(1)
    world.run_operator()
    world.pass_time(10)
    assert world.jobs["masks-1"]["spec"]["activeDeadlineSeconds"] == 3600 - 1010 + 300 + 600


def test_a_limit_that_was_raised_meanwhile_costs_no_restart() -> None:
    """The batch Job keeps the deadline that it was made with."""
    world = World(limits={"activeDeadlineSeconds": 3600})
    world.run_operator()
    world.start_pods()
    world.body["spec"]["limits"]["activeDeadlineSeconds"] = 36_000
    world.wait(4500)
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "Job was active too long"}
    world.jobs["masks-0"].setdefault("status", {})["conditions"] = [failed]
    world.pods.clear()
    world.run_operator()

    assert world.status["restarts"]["lastFailure"]["reason"] == "DeadlineExceeded"
    assert world.status["restarts"]["withoutProgress"] == 0
    assert not world.is_true("Failed")
