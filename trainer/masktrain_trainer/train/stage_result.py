"""What the stages before training leave behind: a result, or the failure that a person must hear about."""

from pathlib import Path

from pydantic import Field

from masktrain_trainer.config import CheckpointRef, Contract, DatasetSummary, ExitCode, Outcome, OutcomeKind

from .child_process import explain_exit
from .run_directory import read_document


class StageFailure(Contract):
    reason: str
    message: str


class StageResult(Contract, extra="ignore"):
    failure: StageFailure | None = None


class PrepareResult(StageResult):
    summary: DatasetSummary | None = None


class RestoreResult(StageResult):
    """`file` is the verified state to go on from; `completed` means an earlier container finished everything."""

    run: int = 0
    restored: CheckpointRef | None = None
    file: str | None = None
    skipped: list[str] = Field(default=[])
    completed: bool = False
    outputs: list[str] = Field(default=[])
    best: CheckpointRef | None = None


def stage_failure(stage: str, code: int, result: Path) -> Outcome | None:
    """Why a stage did not succeed, or None if it did."""
    if code == 0:
        return None
    found = read_document(result, StageResult)
    kind = OutcomeKind.USER_ERROR if code == ExitCode.USER_ERROR else OutcomeKind.CRASHED
    if found is not None and found.failure is not None:
        return Outcome(kind=kind, reason=found.failure.reason, message=found.failure.message)
    message = f"The {stage} stage ended with {explain_exit(code)}; its log lines say why."
    return Outcome(kind=OutcomeKind.CRASHED, reason="StageCrashed", message=message)
