"""One outcome out of many, and what the operator reads from it."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from masktrain_trainer.config import (
    PEER_LOST,
    TERMINATION_MESSAGE_LIMIT,
    DatasetSummary,
    Outcome,
    OutcomeKind,
    Progress,
    RunConfig,
)
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.heartbeat import Activity, Beat
from masktrain_trainer.pod.launch import Launch
from masktrain_trainer.pod.outcome import (
    exit_code,
    explain_connection,
    merge_outcomes,
    read_outcomes,
    termination_message,
)
from masktrain_trainer.run_directory import RunDirectory

COMPLETE = Outcome(kind=OutcomeKind.COMPLETE, reason="Complete", message="Done.")
USER = Outcome.user_error("Diverged", message="The loss is not finite.")
CRASH = Outcome.crashed("RuntimeError", "out of memory")
LOST = Outcome.crashed(PEER_LOST, "connection closed by peer")
STOPPED = Outcome.stopped("Stopped at step 3.")
HUNG = Outcome(kind=OutcomeKind.HUNG, reason="Hung", message="Stands still.")


@pytest.mark.parametrize(
    ("outcome", "code"),
    [(COMPLETE, 0), (USER, 64), (STOPPED, 75), (HUNG, 76), (CRASH, 1)],
    ids=lambda value: str(value)[:20],
)
def test_exit_codes(outcome: Outcome, code: int) -> None:
    assert exit_code(outcome) == code


@pytest.mark.parametrize(
    ("outcomes", "torchrun_code", "expected"),
    [
        ([COMPLETE, COMPLETE], 0, "Complete"),
        ([STOPPED, STOPPED], 0, "Stopped"),
        ([LOST, USER], 1, "Diverged"),
        ([LOST, CRASH], 1, "RuntimeError"),
        ([CRASH, None], 1, "RuntimeError"),
        ([LOST, None], 1, "ProcessLost"),
        ([None, None], 1, "ProcessLost"),
        ([LOST, LOST], 1, PEER_LOST),
        ([COMPLETE, None], 0, "ProcessLost"),
        ([COMPLETE, COMPLETE], 1, "TorchrunFailed"),
    ],
)
def test_the_cause_is_found_among_the_consequences(
    outcomes: list[Outcome | None], torchrun_code: int, expected: object
) -> None:
    assert merge_outcomes(outcomes, torchrun_code).reason == expected


def gang(nodes: int) -> Launch:
    config = RunConfig(
        namespace="team",
        name="masks",
        uid="u-1",
        attempt=3,
        model={},
        dataset={"uri": "s3://bucket/masks.zip"},
        training={},
        checkpoint={"uri": "s3://bucket/out"},
        hang_timeout_seconds=60,
        stop_grace_seconds=30,
    )
    return Launch(config, nodes, 2, 0, "masks-3-0.masks", 29500)


def beats(*activities: Activity | None) -> list[Beat | None]:
    return [None if activity is None else Beat(1, activity, 0.0) for activity in activities]


NO_WORD = Outcome.crashed("ProcessLost", "2 training process(es) of this pod ended without a word.")
GLOO = Outcome.crashed(PEER_LOST, "RuntimeError: Gloo connectFullMesh failed with connect timeout: timed out")
UNROUTED = Outcome.crashed(
    PEER_LOST, "DistBackendError: socketPollConnect: connect to 10.0.1.7 failed: No route to host"
)
CONNECTING, TRAINING = Activity.CONNECTING, Activity.TRAINING
UNCONNECTED = {
    "no pod was met": (NO_WORD, beats(None, None), 1801, 2),
    "gloo waited in vain": (GLOO, beats(CONNECTING, CONNECTING), 700, 2),
    "NCCL is let nowhere": (UNROUTED, beats(CONNECTING, None), 20, 2),
}
CONNECTED = {
    "a process died at its start": (NO_WORD, beats(None, None), 3, 2),
    "a peer ended meanwhile": (LOST, beats(CONNECTING, CONNECTING), 20, 2),
    "a rank trained already": (GLOO, beats(TRAINING, CONNECTING), 700, 2),
    "the gang is on one node": (GLOO, beats(CONNECTING, CONNECTING), 700, 1),
    "the input cannot work": (USER, beats(CONNECTING, CONNECTING), 700, 2),
}


@pytest.mark.parametrize(("outcome", "seen", "waited", "nodes"), UNCONNECTED.values(), ids=UNCONNECTED)
def test_a_network_that_lets_nobody_through_is_said_with_the_hosts(
    outcome: Outcome, seen: list[Beat | None], waited: float, nodes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "masks-3-0")
    explained = explain_connection(outcome, seen, waited, gang(nodes))
    assert (explained.kind, explained.reason) == (OutcomeKind.CRASHED, "GangNotConnected")
    assert "masks-3-0 has not connected with masks-3-1: check " in explained.message


@pytest.mark.parametrize(("outcome", "seen", "waited", "nodes"), CONNECTED.values(), ids=CONNECTED)
def test_the_network_is_not_blamed_for_anything_else(
    outcome: Outcome, seen: list[Beat | None], waited: float, nodes: int
) -> None:
    assert explain_connection(outcome, seen, waited, gang(nodes)) == outcome


def test_outcomes_are_read_in_the_order_they_were_written(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    for rank, outcome in [(1, CRASH), (0, LOST)]:
        write_text_atomically(run.outcome(rank), outcome.to_json())
    os.utime(run.outcome(1), (1, 1))
    assert read_outcomes(run, range(3)) == [CRASH, LOST, None]


def _progress(**fields: Any) -> Progress:
    return Progress(attempt=2, outcome=CRASH, updated_at=datetime(2026, 1, 1, tzinfo=UTC), **fields)


def test_a_small_termination_message_keeps_everything() -> None:
    progress = _progress(detail="x", outputs=["s3://bucket/best.pt"])
    assert Progress.model_validate_json(termination_message(progress)) == progress


@pytest.mark.parametrize("length", [10, 3_000, 100_000])
def test_a_termination_message_never_exceeds_the_kubelets_limit(length: int) -> None:
    dataset = DatasetSummary(
        classes=["ü" * 50] * 80, images=1, boxes=1, validation_images=1, validation_boxes=1, warnings=["w" * 400] * 10
    )
    progress = _progress(dataset=dataset, outputs=["u" * length]).model_copy(
        update={"outcome": Outcome.crashed("RuntimeError", "é" * length)}
    )
    text = termination_message(progress)
    assert len(text.encode()) <= TERMINATION_MESSAGE_LIMIT
    outcome = Progress.model_validate_json(text).outcome
    assert outcome is not None
    assert outcome.reason == "RuntimeError"
