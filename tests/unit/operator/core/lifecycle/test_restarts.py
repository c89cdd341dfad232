"""What follows a failed attempt: at once, later, or never again."""

from typing import Any

import pytest

from masktrain_operator.api.conditions import FailureKind
from masktrain_operator.core.context import Context
from masktrain_operator.core.deadlines import backoff
from masktrain_operator.core.decisions import Failed
from masktrain_operator.core.lifecycle.causes import Cause
from masktrain_operator.core.lifecycle.restarts import after_end, with_failure
from masktrain_operator.core.types import Observed
from masktrain_trainer.config import OutcomeKind
from tests.unit.operator.manifests import NOW, SETTINGS, checkpoint, outcome_message, progress, training_job
from tests.unit.operator.world import World

STOPPED = outcome_message(OutcomeKind.STOPPED, "Stopped", "Stopped on request.")


def fail_once(world: World, code: int, message: str = "") -> None:
    """Start the newest attempt's pods, end them, and let the planner take it in."""
    world.start_pods()
    world.run_operator()
    world.end_all(code, message)
    world.run_operator()


def crash_until_failed(world: World, code: int = 1) -> int:
    """How many attempts there were."""
    world.run_operator()
    for _ in range(30):
        fail_once(world, code)
        if world.is_true("Failed"):
            return len([reason for reason in world.reasons() if reason == "AttemptStarted"])
        world.wait(300)
        world.run_operator()
    return 30


@pytest.mark.parametrize(
    ("ends", "seconds"), [(0, 0), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300), (10_000, 300)]
)
def test_backoff_doubles_from_10_seconds_to_5_minutes(ends: int, seconds: int) -> None:
    assert backoff(ends).total_seconds() == seconds


@pytest.mark.parametrize(
    ("kind", "crashes", "preemptions"),
    [
        (FailureKind.CRASHED, 1, 0),
        (FailureKind.HUNG, 1, 0),
        (FailureKind.PREEMPTED, 0, 1),
        (FailureKind.STOPPED, 0, 1),
        (FailureKind.FENCED, 0, 1),
    ],
)
def test_only_crashes_and_hangs_are_charged(kind: FailureKind, crashes: int, preemptions: int) -> None:
    restarts = with_failure(training_job().status, 0, Cause(kind, "Why", "Because."), NOW)
    assert (restarts.without_progress, restarts.preemptions_without_progress) == (crashes, preemptions)
    assert restarts.retry_time is not None
    assert (restarts.retry_time - NOW).total_seconds() == 10


@pytest.mark.parametrize(
    ("crashes", "allowed", "exhausted"), [(1, 1, False), (1, 0, True), (3, 3, False), (4, 3, True)]
)
def test_the_budget_counts_restarts(crashes: int, allowed: int, exhausted: bool) -> None:
    job = training_job(
        limits={"maxRestartsWithoutProgress": allowed}, status={"restarts": {"withoutProgress": crashes - 1}}
    )
    context = Context(job, Observed(), NOW, SETTINGS)
    decision = after_end(context, job.status, 0, Cause(FailureKind.CRASHED, "Why", "Because."))
    assert isinstance(decision, Failed) is exhausted


@pytest.mark.parametrize("allowed", [0, 1, 3])
def test_a_job_that_only_crashes_fails_when_its_restarts_are_used_up(allowed: int) -> None:
    world = World(limits={"maxRestartsWithoutProgress": allowed})
    assert crash_until_failed(world) == allowed + 1
    failed = world.condition("Failed")
    assert failed["reason"] == "RestartBudgetExhausted"
    assert "exited with code 1" in failed["message"], "the last cause"
    assert world.status["restarts"]["total"] == allowed


def test_preemptions_never_use_up_the_budget_but_are_told_at_the_fifth() -> None:
    world = World(limits={"maxRestartsWithoutProgress": 0})
    assert crash_until_failed(world, code=75) == 30
    assert world.reasons().count("RepeatedlyPreempted") == 1


def test_without_progress_the_next_attempt_waits() -> None:
    world = World()
    world.run_operator()
    fail_once(world, 1)
    assert list(world.jobs) == ["masks-0"]
    assert world.condition("Reconciling")["reason"] == "RestartBackoff"
    assert world.reasons()[-2:] == ["AttemptFailed", "RestartBackoff"]
    assert world.plan().requeue_after == 10
    world.wait(9)
    assert world.run_operator().requeue_after == 1
    assert list(world.jobs) == ["masks-0"]
    world.wait(1)
    world.run_operator()
    assert list(world.jobs) == ["masks-0", "masks-1"]


def test_after_progress_the_next_attempt_starts_at_once_and_the_count_starts_anew() -> None:
    world = World()
    world.run_operator()
    fail_once(world, 1)
    world.wait(10)
    world.run_operator()
    world.start_pods()
    world.progress = progress(attempt=1, last=checkpoint(10))
    world.run_operator()
    world.end_all(1)
    world.run_operator()
    assert world.status["restarts"]["withoutProgress"] == 0
    assert list(world.jobs) == ["masks-1", "masks-2"] or list(world.jobs) == ["masks-0", "masks-1", "masks-2"]
    assert "RestartBackoff" not in world.reasons()[-3:]


def test_the_checkpoint_of_the_last_words_counts_as_progress() -> None:
    world = World()
    world.run_operator()
    fail_once(world, 75, outcome_message(OutcomeKind.STOPPED, "Stopped", "Stopped on request.", last=checkpoint(15)))
    assert world.status["attempt"] == 1


def test_steps_without_a_newer_checkpoint_are_no_progress() -> None:
    world = World()
    world.run_operator()
    world.progress = progress(step=500)
    fail_once(world, 1)
    assert world.status["restarts"]["withoutProgress"] == 1


@pytest.mark.parametrize(("step", "counted"), [(15, 1), (16, 0)])
def test_a_resumed_attempt_must_get_beyond_where_it_started(step: int, counted: int) -> None:
    world = World()
    world.run_operator()
    world.progress = progress(last=checkpoint(15))
    fail_once(world, 1)
    assert world.status["attempt"] == 1
    world.progress = progress(attempt=1, last=checkpoint(step))
    fail_once(world, 1)
    assert world.status["restarts"]["withoutProgress"] == counted


def test_limits_can_be_raised_while_the_job_backs_off() -> None:
    limits: dict[str, Any] = {"maxRestartsWithoutProgress": 1}
    world = World(limits=limits)
    world.run_operator()
    fail_once(world, 1)
    world.body["spec"]["limits"]["maxRestartsWithoutProgress"] = 2
    assert crash_until_failed(world) == 3
