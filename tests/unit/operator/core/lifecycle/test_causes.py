"""Why an attempt ended, from what Kubernetes keeps of it."""

from datetime import timedelta

import pytest

from masktrain_operator.api.conditions import FailureKind
from masktrain_operator.core.attempts import Attempt
from masktrain_operator.core.lifecycle.causes import cause_of, last_words_time
from masktrain_operator.core.types import Manifest
from masktrain_trainer.config import PEER_LOST, OutcomeKind
from tests.unit.operator.manifests import NOW, batch_job, ended_pod, outcome_message, pod, with_condition

REFUSED = outcome_message(OutcomeKind.USER_ERROR, "InvalidDataset", "data.yaml names no classes.")
HUNG = outcome_message(OutcomeKind.HUNG, "Hung", "Rank 1 stood still for 300 s in all_reduce.")
LOST_PEER = outcome_message(OutcomeKind.CRASHED, PEER_LOST, "RuntimeError: Connection closed by peer")
STOPPED = outcome_message(OutcomeKind.STOPPED, "Stopped", "Stopped on request.")


def cause(*pods: Manifest, job: Manifest | None = None) -> tuple[FailureKind, str, str]:
    found = cause_of(Attempt(0, job or batch_job(FailureTarget=True), pods))
    return found.kind, found.reason, found.message


@pytest.mark.parametrize(
    ("code", "message", "kind", "reason", "words"),
    [
        (64, REFUSED, FailureKind.USER_ERROR, "InvalidDataset", "data.yaml names no classes."),
        (75, STOPPED, FailureKind.STOPPED, "Stopped", "Stopped on request."),
        (77, "", FailureKind.FENCED, "Fenced", "exited with code 77"),
        (76, HUNG, FailureKind.HUNG, "Hung", "all_reduce"),
        (1, "Traceback …\nValueError: no", FailureKind.CRASHED, "Crashed", "exited with code 1: ValueError: no"),
        (139, "", FailureKind.CRASHED, "Crashed", "exited with code 139; its log says why."),
        (64, "", FailureKind.USER_ERROR, "UserError", "exited with code 64"),
        (137, "epoch 3 is the best", FailureKind.CRASHED, "Killed", "was killed with SIGKILL (exit code 137)."),
    ],
    ids=["refused", "stopped", "fenced", "hung", "crashed", "crashed silently", "refused silently", "killed"],
)
def test_exit_code_says_what_kind_and_outcome_says_why(
    code: int, message: str, kind: FailureKind, reason: str, words: str
) -> None:
    found_kind, found_reason, found_message = cause(ended_pod(code=code, message=message))
    assert (found_kind, found_reason) == (kind, reason)
    assert words in found_message


def test_the_container_that_finished_first_is_the_cause() -> None:
    first, later = ended_pod(1, code=139, seconds=1), ended_pod(0, code=1, seconds=2)
    assert "masks-0-1-abcde exited with code 139" in cause(later, first)[2]


def test_a_refused_input_outranks_the_clock() -> None:
    refused = ended_pod(1, code=64, seconds=9, message=REFUSED)
    assert cause(ended_pod(0, code=1, seconds=0), refused)[0] == FailureKind.USER_ERROR


@pytest.mark.parametrize(("other", "kind"), [(76, FailureKind.HUNG), (75, FailureKind.CRASHED)])
def test_in_the_same_second_a_hang_explains_a_crash_and_a_crash_a_stop(other: int, kind: FailureKind) -> None:
    assert cause(ended_pod(0, code=1), ended_pod(1, code=other))[0] == kind


def test_a_succeeded_rank_is_no_cause() -> None:
    assert "code 1" in cause(ended_pod(0, code=0, seconds=0), ended_pod(1, code=1, seconds=5))[2]


def test_memory_names_the_field_to_raise() -> None:
    kind, reason, message = cause(ended_pod(code=137, reason="OOMKilled"))
    assert (kind, reason) == (FailureKind.CRASHED, "OutOfMemory")
    assert "compute.resources.limits.memory" in message


def test_a_disrupted_pod_is_the_cause_even_if_another_crashed_first() -> None:
    disrupted = with_condition(
        ended_pod(1, code=75, seconds=5), "DisruptionTarget", reason="EvictionByEvictionAPI", message="Evicted."
    )
    kind, reason, message = cause(ended_pod(0, code=1, seconds=0), disrupted)
    assert (kind, reason) == (FailureKind.PREEMPTED, "EvictionByEvictionAPI")
    assert message == "The cluster ended pod masks-0-1-abcde: Evicted."


def test_a_pod_that_the_kubelet_refused_has_no_container_to_ask() -> None:
    refused = pod(phase="Failed", reason="UnexpectedAdmissionError", message="no such device")
    assert cause(refused) == (
        FailureKind.CRASHED,
        "UnexpectedAdmissionError",
        "Pod masks-0-0-abcde failed: no such device",
    )


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("Container trainer for pod a/b failed with exit code 64 matching FailJob rule at index 1", "UserError"),
        ("Container trainer for pod a/b failed with exit code 75 matching FailJob rule at index 1", "Stopped"),
        ("Pod a/b has condition DisruptionTarget matching FailJob rule at index 0", "Preempted"),
        ("Job has reached the specified backoff limit", "Crashed"),
        ("", "Crashed"),
    ],
)
def test_without_pods_the_condition_of_the_job_has_to_do(message: str, kind: str) -> None:
    assert cause(job=batch_job(Failed=True, message=message))[0] == kind


def test_early_and_late_condition_are_the_same_cause() -> None:
    message = "Container trainer for pod a/b failed with exit code 64 matching FailJob rule at index 1"
    early = cause(job=batch_job(FailureTarget=True, message=message))
    assert early == cause(job=batch_job(Failed=True, message=message))


def test_a_rank_that_only_lost_its_peer_names_the_pod_that_fell_silent() -> None:
    silent = pod(1)
    silent["spec"]["nodeName"] = "gpu-7"
    kind, reason, message = cause(ended_pod(0, code=1, message=LOST_PEER), silent)
    assert (kind, reason) == (FailureKind.PREEMPTED, "PodSilent")
    assert "masks-0-1-abcde on node gpu-7" in message


def test_a_peer_that_crashed_in_its_own_words_is_the_cause() -> None:
    crash = ended_pod(1, code=139, seconds=0)
    assert cause(ended_pod(0, code=1, seconds=1, message=LOST_PEER), crash)[0] is FailureKind.CRASHED


def test_the_words_of_a_silent_peer_are_waited_for() -> None:
    attempt = Attempt(0, batch_job(FailureTarget=True), (ended_pod(0, code=1, seconds=9, message=LOST_PEER), pod(1)))
    assert last_words_time(attempt) == NOW + timedelta(seconds=14)


def test_a_failed_condition_without_a_time_is_not_waited_for() -> None:
    job = batch_job(Failed=True, message="container failed with exit code 1")
    assert last_words_time(Attempt(0, job, (pod(),))) is None
