"""One picture of the attempt, merged from what the stages, rank 0 and the uploader each know."""

import logging
from datetime import UTC, datetime
from typing import Any

from masktrain_trainer.checkpoint.spool import UploaderStatus
from masktrain_trainer.config import DatasetSummary, Outcome, Phase, Progress, RunConfig

from .run_directory import RunDirectory, read_document
from .stage_result import RestoreResult
from .training_progress import TrainingProgress

log = logging.getLogger(__name__)

_BEFORE_AND_AFTER_TRAINING = {Phase.STARTING, Phase.PREPARING, Phase.RESTORING, Phase.DRAINING, Phase.FINISHED}


_TOLD_CHECKPOINTS = 5
"""Passed-over checkpoints that are told to the operator; the log has all of them."""


class ProgressBoard:
    """What the supervisor knows itself is set here; the rest is read from the run directory when somebody asks."""

    def __init__(self, config: RunConfig, run: RunDirectory) -> None:
        self._config = config
        self._run = run
        self._phase = Phase.STARTING
        self._detail = ""
        self._dataset: DatasetSummary | None = None
        self._restored: RestoreResult | None = None
        self._outcome: Outcome | None = None

    def enter(self, phase: Phase, detail: str = "") -> None:
        self._phase, self._detail = phase, detail
        log.info("%s: %s", phase, detail)

    def set_dataset(self, summary: DatasetSummary | None) -> None:
        self._dataset = summary

    def set_restored(self, restored: RestoreResult) -> None:
        self._restored = restored

    def finish(self, outcome: Outcome) -> None:
        self._phase, self._detail = Phase.FINISHED, outcome.message
        self._outcome = outcome

    def progress(self, now: datetime | None = None) -> Progress:
        """The rendezvous ends, for an observer, with rank 0's first word."""
        training = read_document(self._run.progress, TrainingProgress)
        fields: dict[str, Any] = {"epochs": self._config.training.epochs, "detail": self._detail, "phase": self._phase}
        if training is not None:
            fields |= dict(training)
            if self._phase in _BEFORE_AND_AFTER_TRAINING:
                fields["phase"] = self._phase
        fields |= self._from_restore() | self._from_uploader()
        return Progress(
            attempt=self._config.attempt,
            dataset=self._dataset,
            outcome=self._outcome,
            updated_at=now or datetime.now(UTC),
            **fields,
        )

    def _from_restore(self) -> dict[str, Any]:
        restored = self._restored
        if restored is None:
            return {}
        return {
            "run": restored.run,
            "resumed_from": restored.restored,
            "skipped_checkpoints": restored.skipped[:_TOLD_CHECKPOINTS],
            "best": restored.best,
            "last": restored.restored,
            "outputs": restored.outputs,
        }

    def _from_uploader(self) -> dict[str, Any]:
        """Only what it knows: until its first upload, the restored checkpoints are still the newest."""
        status = read_document(self._run.uploader_status, UploaderStatus)
        if status is None:
            return {}
        known = {"best": status.best, "last": status.last, "outputs": status.outputs}
        return {"store_error": status.store_error} | {name: value for name, value in known.items() if value}
