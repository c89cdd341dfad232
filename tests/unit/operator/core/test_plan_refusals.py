"""A write that the API server does not take: said in the status, tried again, and no reason to stop saying the rest."""

from dataclasses import replace

import pytest

from masktrain_operator.core.deadlines import refused
from masktrain_operator.core.plan import plan_unreadable
from masktrain_operator.core.types import Refusal
from tests.unit.operator.manifests import NOW, SETTINGS, checkpoint, progress, training_job
from tests.unit.operator.world import QUOTA, World, half_started

CREATE_JOB, APPLY_SERVICE, DELETE_JOB = ("create", "Job"), ("apply", "Service"), ("delete", "Job")


def running_world() -> World:
    world = World()
    world.run_operator()
    world.start_pods()
    world.run_operator()
    return world


def test_a_refused_job_is_no_attempt_and_says_whose_words_stopped_it() -> None:
    world = World()
    world.refused_writes = {CREATE_JOB}
    world.reconcile()
    assert "attempt" not in world.status
    assert "startTime" not in world.status
    assert world.condition("WriteRefused")["reason"] == "Forbidden"
    assert world.condition("WriteRefused")["message"] == f"Job masks-0 could not be created: {QUOTA}"
    assert world.condition("Reconciling")["reason"] == "WriteRefused"
    assert QUOTA in world.condition("Reconciling")["message"]
    assert (world.status["state"], world.reasons()) == ("Pending", ["ApplyFailed"])
    assert world.service is not None, "the rest of the plan is done"


def test_it_is_tried_again_further_and_further_apart_and_the_condition_ends_when_it_is_taken() -> None:
    world = World()
    world.refused_writes = {CREATE_JOB}
    waits = []
    for _ in range(9):
        requeue = world.reconcile().requeue_after
        assert requeue is not None
        waits.append(requeue)
        world.wait(requeue)
    assert waits == [2, 4, 8, 16, 32, 64, 120, 120, 120]
    world.refused_writes = set()
    world.run_operator()
    assert list(world.jobs) == ["masks-0"]
    assert world.status["attempt"] == 0
    assert world.condition("WriteRefused")["status"] == "False"
    assert world.reasons() == ["ApplyFailed", "AttemptStarted"]


def test_events_do_not_make_the_operator_try_a_refused_write_earlier() -> None:
    world = World()
    world.refused_writes = {CREATE_JOB}
    world.reconcile()
    world.refused_writes = set()
    assert world.reconcile().create == ()
    assert world.condition("WriteRefused")["status"] == "True"


def test_a_refused_restart_leaves_the_account_of_attempts_as_it_is() -> None:
    world = running_world()
    world.progress = progress(last=checkpoint(15))
    world.run_operator()
    world.end_all(1)
    world.refused_writes = {CREATE_JOB}
    world.reconcile()
    world.reconcile()
    assert (world.status["attempt"], world.status["restarts"]["total"]) == (0, 0)
    assert world.status["state"] == "Restarting"
    assert "masks-1 could not be created" in world.condition("WriteRefused")["message"]
    world.refused_writes = set()
    world.wait(10)
    world.run_operator()
    assert (world.status["attempt"], world.status["restarts"]["total"]) == (1, 1)


def test_while_a_service_is_refused_training_is_shown_and_completes() -> None:
    world = running_world()
    assert world.service is not None
    world.service["spec"]["publishNotReadyAddresses"] = False
    world.refused_writes = {APPLY_SERVICE}
    world.progress = progress(step=15)
    world.reconcile()
    assert world.status["progress"]["step"] == 15
    assert world.condition("WriteRefused")["message"] == f"Service masks could not be updated: {QUOTA}"
    assert world.status["state"] == "Running"
    assert not world.is_true("Stalled")
    world.end_all(0)
    world.run_operator()
    assert world.is_true("Complete")
    assert not world.is_true("WriteRefused")


def test_a_limit_ends_a_job_whose_creation_is_refused() -> None:
    world = World(limits={"startDeadlineSeconds": 100})
    world.refused_writes = {CREATE_JOB}
    world.pass_time(100)
    assert world.condition("Failed")["reason"] == "CapacityNotFound"
    assert QUOTA in world.condition("Failed")["message"]


def test_a_refused_deletion_is_said_and_tried_again() -> None:
    world = World(limits={"ttlSecondsAfterFinished": 0})
    world.run_operator()
    world.start_pods()
    world.run_operator()
    world.refused_writes = {DELETE_JOB}
    world.end_all(0)
    world.is_woken = True
    world.pass_time(5)
    assert world.is_true("Complete")
    assert world.condition("WriteRefused")["message"] == f"Job masks-0 could not be deleted: {QUOTA}"
    assert world.service is None, "the other deletions are done"
    world.refused_writes = set()
    world.pass_time(10)
    assert world.jobs == {}
    assert not world.is_true("WriteRefused")


def test_the_half_gang_of_a_refused_deletion_is_let_go_whenever_that_is_allowed() -> None:
    """The end of its attempt stands in the status by then."""
    world = half_started()
    world.refused_writes = {DELETE_JOB}
    world.is_woken = True
    world.pass_time(900)
    assert world.status["restarts"]["lastFailure"]["reason"] == "GangIncomplete"
    assert world.condition("WriteRefused")["message"] == f"Job masks-0 could not be deleted: {QUOTA}"
    world.refused_writes = set()
    world.pass_time(120)
    assert world.jobs == {}
    assert not world.is_true("WriteRefused")
    world.remove_terminating()
    world.is_woken = True
    world.pass_time(0)
    assert list(world.jobs) == ["masks-1"]


def test_a_job_whose_label_somebody_removed_is_not_taken_for_one_that_has_ended() -> None:
    world = running_world()
    del world.jobs["masks-0"]["metadata"]["labels"]["masktrain.dev/attempt"]
    assert not world.reconcile().delete


def test_a_moment_of_overload_is_no_refusal_and_a_server_that_stays_broken_is() -> None:
    def tried(failures: int, *, is_overload: bool) -> bool:
        world = half_started()
        world.wait(800)
        refusal: Refusal | None = None
        for _ in range(failures):
            refusal = refused(
                ("delete", "Job", "masks-0"),
                reason="",
                message="No.",
                before=refusal,
                now=world.now,
                is_overload=is_overload,
            )
        assert refusal is not None
        observed = replace(world.observe(), refusals=(refusal,))
        decided = world.plan(observed)
        assert decided.delete == (), "tried again at its time"
        assert decided.status is not None
        world.apply(decided)
        return world.is_true("WriteRefused")

    assert [tried(failures, is_overload=True) for failures in (1, 4, 5)] == [False, False, True]
    assert tried(1, is_overload=False)


def test_what_somebody_else_has_put_right_is_refused_no_more() -> None:
    world = running_world()
    assert world.service is not None
    world.service["spec"]["publishNotReadyAddresses"] = False
    world.refused_writes = {APPLY_SERVICE}
    world.reconcile()
    world.service["spec"]["publishNotReadyAddresses"] = True
    world.reconcile()
    assert not world.is_true("WriteRefused")
    world.wait(10)
    world.reconcile()
    assert world.refusals == {}


def test_somebody_elses_service_does_not_hide_how_a_running_gang_is() -> None:
    world = running_world()
    world.service = {"metadata": {"name": "masks", "uid": "theirs"}}
    world.progress = progress(step=15)
    decided = world.run_operator()
    assert (decided.apply, decided.delete) == ((), ())
    assert world.status["progress"]["step"] == 15
    assert world.status["state"] == "Running"
    assert world.condition("WriteRefused")["reason"] == "ServiceNotOurs"
    world.end_all(0)
    world.run_operator()
    assert world.is_true("Complete")


@pytest.mark.parametrize(("reason", "shown"), [("Invalid", "Invalid"), ("", "Refused")])
def test_a_condition_always_has_a_reason(reason: str, shown: str) -> None:
    refusal = refused(("create", "Job", "masks-0"), reason=reason, message="No.", before=None, now=NOW)
    assert isinstance(refusal, Refusal)
    assert refusal.reason == shown


def test_an_unreadable_resource_is_stalled_and_everything_else_stays() -> None:
    world = running_world()
    before = training_job(status=world.status).status
    decided = plan_unreadable(before, 2, "The operator cannot work with spec.model.", NOW)
    assert decided.status is not None
    after = training_job(status=decided.status).status
    assert after.state == before.state
    assert [(c.type, c.reason) for c in after.conditions] == [
        ("Reconciling", "WorkersRunning"),
        ("Stalled", "InvalidSpec"),
    ]
    assert [event.reason for event in decided.events] == ["InvalidSpec"]
    assert plan_unreadable(after, 2, "The operator cannot work with spec.model.", NOW).status is None


def test_a_finished_resource_that_became_unreadable_is_left_as_it_ended() -> None:
    world = running_world()
    world.end_all(0)
    world.run_operator()
    assert plan_unreadable(training_job(status=world.status).status, 2, "No.", NOW).status is None


def test_a_resource_that_can_be_read_again_is_stalled_no_more() -> None:
    world = running_world()
    unreadable = plan_unreadable(training_job(status=world.status).status, 1, "No.", NOW)
    world.apply(unreadable)
    decided = world.run_operator()
    assert not world.is_true("Stalled")
    assert decided.requeue_after == SETTINGS.progress_interval_seconds
