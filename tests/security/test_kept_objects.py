"""A second team keeps what the operator deletes, by finalizers and `--cascade=orphan`: a gang then runs on, unpaid for.

Before, nothing ended the pods of a batch Job that a finalizer kept, and none of these pods waited for its limits any
more. The control plane of these tests has no garbage collector: what is deleted, the operator has deleted.
"""

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from devcluster.cluster import ClusterError
from devcluster.waiting import wait_until
from masktrain_operator.core.plan import plan_deleted
from masktrain_operator.core.pods import is_terminal
from masktrain_operator.core.times import format_time
from tests.api.gang import Gang
from tests.api.namespace import ApiNamespace
from tests.api.operator_process import OperatorProcess
from tests.api.training_jobs import training_job
from tests.security.team import Team, TrainerAt, trainer_at
from tests.unit.operator.world import World, running

HOLD = {"metadata": {"finalizers": ["theirs.example/hold"]}}


# What the plan says


def kept(**sections: dict[str, object]) -> World:
    """A running gang whose Job a finalizer keeps."""
    world = running(**sections)
    world.kept_jobs = {"masks-0"}
    return world


def are_going(world: World) -> bool:
    return all("deletionTimestamp" in pod["metadata"] for pod in world.pods.values())


def test_a_kept_job_loses_its_pods_at_the_deadline() -> None:
    world = kept(limits={"activeDeadlineSeconds": 600})
    world.pass_time(601)
    assert world.is_true("Failed")
    assert "deletionTimestamp" in world.jobs["masks-0"]["metadata"]
    assert len(world.pods) == 2
    assert are_going(world)


def test_pods_that_appear_late_under_a_kept_job_are_deleted_as_well() -> None:
    world = kept(limits={"activeDeadlineSeconds": 600})
    world.pass_time(601)
    world.remove_terminating()
    world.jobs["masks-0"].pop("status")
    world.create_pods()
    world.run_operator()
    assert len(world.pods) == 2
    assert are_going(world)


def test_a_kept_job_holds_up_no_restart() -> None:
    """Of a gang that the operator ends: a pod of it does not stop, and the Job does not go."""
    world = kept()
    world.ask_to_end(next(iter(world.pods.values())))
    world.is_woken = True
    world.pass_time(200)
    assert "masks-0" in world.jobs
    world.remove_terminating()
    world.is_woken = True
    world.pass_time(60)
    assert "masks-1" in world.jobs


def test_an_attempt_whose_job_was_deleted_and_is_kept_ends_and_the_next_begins() -> None:
    """It was `Running` for ever, without a pod."""
    world = kept()
    world.jobs["masks-0"]["metadata"] |= {"deletionTimestamp": "2026-01-02T03:04:05Z", "finalizers": ["theirs/hold"]}
    world.run_operator()
    assert are_going(world)
    world.remove_terminating()
    world.is_woken = True
    world.pass_time(140)
    assert list(world.jobs) == ["masks-0"], "a deletion in the foreground takes so long"
    world.pass_time(30)
    assert "masks-1" in world.jobs
    failure = world.status["restarts"]["lastFailure"]
    assert (failure["kind"], failure["reason"]) == ("Stopped", "JobDeleted")
    assert "theirs/hold" in failure["message"]
    assert world.status["restarts"].get("withoutProgress", 0) == 0


@pytest.mark.parametrize("finalizer", ["theirs.example/hold", "orphan", "foregroundDeletion"])
def test_a_kept_job_of_a_deleted_job_loses_its_pods(finalizer: str) -> None:
    world = kept()
    for _ in range(2):
        world.apply(plan_deleted([finalizer], world.observe(), world.now))
        world.jobs["masks-0"]["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    assert are_going(world)
    assert plan_deleted([finalizer], world.observe(), world.now).delete == ()


def test_orphaned_pods_of_a_job_that_is_gone_are_deleted() -> None:
    """The garbage collector leaves them, and their Job's uid stands in the status."""
    world = running()
    del world.jobs["masks-0"]
    world.run_operator()
    assert are_going(world)


def test_a_kept_pod_that_was_given_up_holds_neither_node_nor_attempt() -> None:
    """Its node does not answer, so that it never reads as ended; the forced deletion leaves it to its finalizer."""
    world = running()
    world.removes_by_force = False
    world.end_pod(1, 1)
    world.run_job_controller()
    world.is_woken = True
    world.pass_time(200)
    assert "masks-0-0-abcde" in world.pods
    assert is_terminal(world.pods["masks-0-0-abcde"])
    assert "masks-1" in world.jobs


def test_a_pod_that_still_stops_is_waited_for() -> None:
    world = running()
    pod = world.pods["masks-0-0-abcde"]
    pod["metadata"] |= {"deletionTimestamp": "2026-01-02T03:06:05Z", "deletionGracePeriodSeconds": 120}
    assert not is_terminal(pod)


YEAR_SECONDS = 31_536_000


def asked_to_end(world: World, seconds: int) -> None:
    """By its team, with that grace period; the API server then takes no other but a shorter one."""
    for manifest in world.pods.values():
        end = format_time(world.now + timedelta(seconds=min(seconds, 200 * YEAR_SECONDS)))
        manifest["metadata"] |= {"deletionTimestamp": end, "deletionGracePeriodSeconds": seconds}
        manifest["spec"]["terminationGracePeriodSeconds"] = 120
    world.is_woken = True


@pytest.mark.parametrize("seconds", [YEAR_SECONDS, 1 << 40, (1 << 63) - 1])
def test_a_grace_period_of_a_year_keeps_no_pod_past_the_deadline(seconds: int) -> None:
    """Attack: `kubectl delete pod --grace-period=31536000` of each pod, whose image ignores signals."""
    world = running(limits={"activeDeadlineSeconds": 60})
    asked_to_end(world, seconds)
    world.pass_time(240)
    assert not [name for name in world.pods if name.startswith("masks-0-")]


def test_a_grace_period_of_a_year_keeps_no_pod_of_a_deleted_job() -> None:
    world = running()
    asked_to_end(world, YEAR_SECONDS)
    assert plan_deleted(["theirs/hold"], world.observe(), world.now).requeue_after == 150
    world.wait(150)
    world.apply(plan_deleted(["theirs/hold"], world.observe(), world.now))
    assert not world.pods


# What an API server does


@pytest.fixture
def rank_zero() -> Iterator[TrainerAt]:
    with trainer_at("127.78.3.1") as trainer:
        yield trainer


@pytest.fixture
def team(namespace: ApiNamespace) -> Team:
    """In the namespace of the job."""
    rights: dict[str, tuple[str, ...]] = {"": ("pods",), "batch": ("jobs",), "masktrain.dev": ("masktrainingjobs",)}
    return Team(namespace, rights)


@pytest.fixture
def start(
    namespace: ApiNamespace, operator: OperatorProcess, rank_zero: TrainerAt
) -> Callable[[dict[str, object]], Gang]:
    def start(limits: dict[str, object]) -> Gang:
        namespace.create(training_job(limits=limits))
        namespace.wait("job/masks-0", "create")
        gang = Gang(namespace, "masks-0")
        gang.start(rank_zero.address)
        namespace.wait("mtj/masks", "jsonpath={.status.state}=Running")
        return gang

    return start


def is_stopped(namespace: ApiNamespace) -> bool:
    return all("deletionTimestamp" in pod["metadata"] for pod in namespace.items("pods"))


@pytest.mark.api
def test_a_finalizer_on_the_batch_job_keeps_no_pod_past_the_deadline(
    namespace: ApiNamespace, team: Team, start: Callable[[dict[str, object]], Gang]
) -> None:
    start({"activeDeadlineSeconds": 8, "stopGraceSeconds": 30})
    team.merge("job/masks-0", HOLD)
    namespace.wait("mtj/masks", "condition=Failed")
    wait_until(lambda: is_stopped(namespace), "the pods asked to end", seconds=30)
    assert "deletionTimestamp" in namespace.get("job/masks-0")["metadata"]


@pytest.mark.api
def test_a_finalizer_on_the_batch_job_keeps_no_pod_of_a_deleted_job(
    namespace: ApiNamespace, team: Team, start: Callable[[dict[str, object]], Gang]
) -> None:
    start({"stopGraceSeconds": 30})
    team.merge("job/masks-0", HOLD)
    team.kubectl("delete", "mtj", "masks", "--wait=false")
    wait_until(lambda: is_stopped(namespace), "the pods asked to end", seconds=30)


@pytest.mark.api
@pytest.mark.parametrize("target", ["mtj/masks", "job/masks-0"])
def test_no_gang_is_orphaned(
    namespace: ApiNamespace, team: Team, start: Callable[[dict[str, object]], Gang], target: str
) -> None:
    """The test is the garbage collector here, and a fast one: it takes owner references and finalizer at once."""
    start({"stopGraceSeconds": 30})
    owned = "job/masks-0" if target.startswith("mtj") else "pod/masks-0-0-x"
    team.kubectl("delete", target, "--cascade=orphan", "--wait=false")
    # The operator may be faster still.
    with contextlib.suppress(ClusterError):
        namespace.merge(owned, {"metadata": {"ownerReferences": None}})
    namespace.merge(target, {"metadata": {"finalizers": None}})
    if target.startswith("mtj"):
        wait_until(lambda: namespace.names("jobs") == [], "the batch Job deleted", seconds=30)
    else:
        wait_until(lambda: is_stopped(namespace), "the pods asked to end", seconds=30)


@pytest.mark.api
def test_the_grace_period_of_a_deletion_is_not_a_pods_own(
    namespace: ApiNamespace, team: Team, start: Callable[[dict[str, object]], Gang]
) -> None:
    """Without a kubelet nothing else ends it."""
    start({"activeDeadlineSeconds": 8, "stopGraceSeconds": 10})
    team.kubectl("delete", "pod", "masks-0-0-x", f"--grace-period={YEAR_SECONDS}", "--wait=false")
    wait_until(lambda: "masks-0-0-x" not in namespace.names("pods"), "the pod ended by force", seconds=80)


@pytest.mark.api
def test_a_finalizer_on_a_pod_that_was_given_up_holds_up_no_restart(
    namespace: ApiNamespace, team: Team, start: Callable[[dict[str, object]], Gang]
) -> None:
    """It reads as running for ever: the node is gone, and a deletion by force leaves it to its finalizer."""
    gang = start({"stopGraceSeconds": 30})
    team.merge("pod/masks-0-0-x", HOLD)
    team.kubectl("delete", "pod", "masks-0-0-x", "--force", "--grace-period=0", "--wait=false")
    gang.has_failed("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    namespace.wait("job/masks-1", "create")
    assert namespace.get("pod/masks-0-0-x")["status"]["phase"] == "Running"
