"""How an attempt ended: one outcome out of every rank's and stage's, its exit code, and the termination message."""

import re
import socket
from collections.abc import Sequence
from pathlib import Path

from masktrain_trainer.config import (
    PEER_LOST,
    TERMINATION_MESSAGE_LIMIT,
    ExitCode,
    Outcome,
    OutcomeKind,
    Progress,
    StepResult,
)
from masktrain_trainer.heartbeat import RENDEZVOUS_TIMEOUT_SECONDS, Activity, Beat
from masktrain_trainer.run_directory import RunDirectory, StageResult, read_document

from .launch import Launch
from .processes import explain_exit

CRASH_EXIT_CODE = 1
_SHORT_MESSAGE = 300
"""Characters of a sentence for which there is little room."""
NOT_CONNECTED = "GangNotConnected"
_UNREACHABLE = re.compile(r"timed? ?out|no route to host|network is unreachable", re.IGNORECASE)
"""What torch, gloo and NCCL say of a network that does not let them through, and not of a peer that has ended."""

_EXIT_CODES = {
    OutcomeKind.COMPLETE: ExitCode.DONE,
    OutcomeKind.USER_ERROR: ExitCode.USER_ERROR,
    OutcomeKind.STOPPED: ExitCode.STOPPED,
    OutcomeKind.HUNG: ExitCode.HUNG,
    OutcomeKind.FENCED: ExitCode.FENCED,
}


def exit_code(outcome: Outcome) -> int:
    return int(_EXIT_CODES.get(outcome.kind, CRASH_EXIT_CODE))


def read_outcomes(run: RunDirectory, local_ranks: Sequence[int]) -> list[Outcome | None]:
    """Every local rank's outcome, those written first in front, those never written (None) at the end."""
    # torchrun ends the others once one has failed, so the first to be written is nearest to the cause.
    paths = sorted((run.outcome(rank) for rank in local_ranks), key=_written_at)
    return [read_document(path, Outcome) for path in paths]


def merge_outcomes(outcomes: Sequence[Outcome | None], torchrun_code: int) -> Outcome:
    """The cause among the consequences: torchrun exits 1 whatever a rank returned, and ends the other ranks.

    A user's error explains everything else; then the first crash with a cause of its own; then a rank that ended
    without a word; a rank that only lost its peers explains nothing.
    """
    said = [outcome for outcome in outcomes if outcome is not None]
    failures = [o for o in said if o.kind is OutcomeKind.USER_ERROR] or [
        o for o in said if o.kind is OutcomeKind.CRASHED and o.reason != PEER_LOST
    ]
    if failures:
        return failures[0]
    if torchrun_code != 0 or not said or len(said) < len(outcomes):
        return _unexplained(said, silent=len(outcomes) - len(said), torchrun_code=torchrun_code)
    return said[0]


def explain_connection(outcome: Outcome, beats: Sequence[Beat | None], waited: float, launch: Launch) -> Outcome:
    """The outcome of a gang whose ranks never came together, with the hosts between which it failed.

    `beats`: of this pod's ranks; `waited`: seconds since torchrun's start. A rank that a peer's end has cut off says
    nothing about the network.
    """
    if launch.nodes == 1 or outcome.kind is not OutcomeKind.CRASHED:
        return outcome
    if any(beat is not None and beat.activity is not Activity.CONNECTING for beat in beats):
        return outcome
    hosts = launch.unconnected(socket.gethostname())
    if all(beat is None for beat in beats):
        # Earlier it was not the wait that ended it.
        if waited < RENDEZVOUS_TIMEOUT_SECONDS:
            return outcome
        return Outcome.crashed(NOT_CONNECTED, f"No training process could start in {waited:.0f} s: {hosts}")
    if not _UNREACHABLE.search(outcome.message):
        return outcome
    return Outcome.crashed(NOT_CONNECTED, f"{hosts} It failed with: {outcome.message}")


def termination_message(progress: Progress) -> str:
    """The progress as JSON of at most 4096 bytes: what a person can find elsewhere is left out first."""
    shrinkings = (
        progress,
        progress.model_copy(update={"dataset": None}),
        progress.model_copy(update={"dataset": None, "outputs": [], "detail": "", "skipped_checkpoints": []}),
        Progress(
            attempt=progress.attempt,
            run=progress.run,
            exported=_shortened(progress.exported),
            evaluated=_shortened(progress.evaluated),
            outcome=progress.outcome,
            updated_at=progress.updated_at,
        ),
    )
    for candidate in shrinkings:
        if _fits(text := candidate.to_json()):
            return text
    return _with_short_message(shrinkings[-1])


def _with_short_message(progress: Progress) -> str:
    assert progress.outcome is not None
    # All else is left out by now, so this sentence is what is too long.
    outcome = progress.outcome.model_copy(update={"message": progress.outcome.message[:_SHORT_MESSAGE] + "…"})
    return progress.model_copy(update={"outcome": outcome}).to_json()


def _shortened(step: StepResult | None) -> StepResult | None:
    if step is None or len(step.message) <= _SHORT_MESSAGE:
        return step
    return step.model_copy(update={"message": step.message[:_SHORT_MESSAGE] + "…"})


def _fits(text: str) -> bool:
    return len(text.encode()) <= TERMINATION_MESSAGE_LIMIT


def _unexplained(said: Sequence[Outcome], *, silent: int, torchrun_code: int) -> Outcome:
    lost = next((outcome for outcome in said if outcome.reason == PEER_LOST), None)
    if silent:
        why = "often for want of memory or of disk space"
        message = f"{silent} training process(es) of this pod ended without a word, {why}."
        return Outcome.crashed("ProcessLost", message)
    return lost or Outcome.crashed("TorchrunFailed", f"torchrun ended with {explain_exit(torchrun_code)}.")


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return float("inf")


def stage_failure(stage: str, code: int, result: Path) -> Outcome | None:
    """Why a stage did not succeed, or None if it did."""
    if code == 0:
        return None
    found = read_document(result, StageResult)
    kinds = {int(ExitCode.USER_ERROR): OutcomeKind.USER_ERROR, int(ExitCode.FENCED): OutcomeKind.FENCED}
    if found is not None and found.failure is not None:
        kind = kinds.get(code, OutcomeKind.CRASHED)
        return Outcome(kind=kind, reason=found.failure.reason, message=found.failure.message)
    return Outcome.crashed("StageCrashed", f"The {stage} stage ended with {explain_exit(code)}; its log lines say why.")
