"""The attempt's progress: merged from what the stages, rank 0 and the uploader each know, and served over HTTP.

`GET /progress` is for the operator, `/metrics` for Prometheus, `/healthz` for anyone.
"""

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from masktrain_trainer.checkpoint.spool import UploaderStatus
from masktrain_trainer.config import (
    CheckpointRef,
    DatasetSummary,
    Outcome,
    Phase,
    Progress,
    RunConfig,
    StepResult,
    Steps,
)
from masktrain_trainer.run_directory import RestoreResult, RunDirectory, TrainingProgress, read_document

log = logging.getLogger(__name__)

_BEFORE_AND_AFTER_TRAINING = {Phase.STARTING, Phase.PREPARING, Phase.RESTORING, Phase.DRAINING, Phase.FINISHED}
_STALE_AFTER_INTERVALS = 3
_STALE_AFTER_AT_LEAST = timedelta(minutes=15)
"""A checkpoint that took one interval to be due, one to be stored and one to be tried again is still in time."""
_MOST_SKIPPED = 5
"""Passed-over checkpoints that are reported to the operator; the log has all of them."""


class AttemptProgress:
    """The supervisor's own part is set here; the rest is read from the run directory when somebody asks."""

    def __init__(self, config: RunConfig, run: RunDirectory) -> None:
        self._config = config
        self._run = run
        self._phase = Phase.STARTING
        self._detail = ""
        self._dataset: DatasetSummary | None = None
        self._restored: RestoreResult | None = None
        self._outcome: Outcome | None = None
        self.steps = Steps()
        """What became of what follows the training; here, and not in a file, since a disk may be full."""
        self._training_since: datetime | None = None

    def enter(self, phase: Phase, detail: str = "") -> None:
        self._phase, self._detail = phase, detail
        log.info("%s: %s", phase, detail)

    def set_dataset(self, summary: DatasetSummary | None) -> None:
        self._dataset = summary

    def set_restored(self, restored: RestoreResult) -> None:
        self._restored = restored
        self.steps = restored.steps

    def add_step(self, **result: StepResult) -> None:
        """By its field in `Steps`."""
        self.steps = self.steps.model_copy(update=result)

    def finish(self, outcome: Outcome) -> None:
        self._phase, self._detail = Phase.FINISHED, outcome.message
        self._outcome = outcome

    def progress(self, now: datetime | None = None) -> Progress:
        """The rendezvous ends, for an observer, with rank 0's first word."""
        now = now or datetime.now(UTC)
        training = read_document(self._run.progress, TrainingProgress)
        fields: dict[str, Any] = {"epochs": self._config.training.epochs, "detail": self._detail, "phase": self._phase}
        if training is not None:
            fields |= dict(training)  # rank 0's phase too: it alone knows whether it trains or validates
            if self._phase in _BEFORE_AND_AFTER_TRAINING:
                fields["phase"] = self._phase  # its file is still there when it has ended
        fields |= self._from_restore() | self._from_uploader()
        if training is not None and self._phase not in _BEFORE_AND_AFTER_TRAINING:
            # From rank 0's first word on: a long preparation of the data is no failure of the store.
            self._training_since = self._training_since or now
            fields["store_error"] = fields.get("store_error") or self._staleness(fields.get("last"), now)
        return Progress(
            attempt=self._config.attempt,
            dataset=self._dataset,
            exported=self.steps.exported,
            evaluated=self.steps.evaluated,
            outcome=self._outcome,
            updated_at=now,
            **fields,
        )

    def _staleness(self, last: CheckpointRef | None, now: datetime) -> str | None:
        """Whatever keeps checkpoints away, also an uploader that says nothing, shows by their age."""
        assert self._training_since is not None
        # A restored checkpoint is as old as the attempt before this one, and says nothing of the store now.
        since = self._training_since if last is None else max(self._training_since, last.verified_at)
        interval = timedelta(seconds=self._config.checkpoint.interval_seconds)
        if now - since <= max(_STALE_AFTER_INTERVALS * interval, _STALE_AFTER_AT_LEAST):
            return None
        return f"No checkpoint has been verified in the store since {since:%Y-%m-%dT%H:%M:%SZ}; rank 0's log says why."

    def _from_restore(self) -> dict[str, Any]:
        restored = self._restored
        if restored is None:
            return {}
        return {
            "run": restored.run,
            "resumed_from": restored.restored,
            "skipped_checkpoints": restored.skipped[:_MOST_SKIPPED],
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


ReadProgress = Callable[[], Progress]


class ProgressCollector(Collector):
    def __init__(self, read: ReadProgress) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        progress = self._read()
        for name, (meaning, value) in _measurements(progress).items():
            # A gauge that is not known yet would read as zero.
            if value is not None:
                yield GaugeMetricFamily(f"masktrain_{name}", meaning, value=value)


def _measurements(progress: Progress) -> dict[str, tuple[str, float | None]]:
    losses = progress.losses
    last = progress.last.verified_at.timestamp() if progress.last else None
    return {
        "attempt": ("Attempt of the job, from 0.", progress.attempt),
        "epoch": ("Epoch in work, from 0.", progress.epoch),
        "epochs": ("Epochs asked for.", progress.epochs),
        "step": ("Optimizer steps taken.", progress.step),
        "images_per_second": ("Training images per second over all ranks.", progress.images_per_second),
        "eta_seconds": ("Expected seconds until the last epoch ends.", progress.eta_seconds),
        "loss_box": ("Mean box loss of the epoch so far.", losses.box if losses else None),
        "loss_objectness": ("Mean objectness loss of the epoch so far.", losses.objectness if losses else None),
        "loss_classification": ("Mean class loss of the epoch so far.", losses.classification if losses else None),
        "map50": ("mAP at IoU 0.5 of the last validation.", progress.map50),
        "map50_95": ("mAP at IoU 0.5 to 0.95 of the last validation.", progress.map50_95),
        "checkpoint_timestamp_seconds": ("When the newest stored checkpoint was verified.", last),
        "store_failing": ("1 while the newest checkpoint cannot be stored.", float(progress.store_error is not None)),
    }


def build_application(read: ReadProgress | None) -> web.Application:
    """Pods that do not hold rank 0 know nothing worth asking and only say that they live."""
    application = web.Application()
    application.router.add_get("/healthz", _healthz)
    if read is not None:
        _add_progress(application, read)
    return application


@asynccontextmanager
async def serve_progress(read: ReadProgress | None, port: int) -> AsyncIterator[None]:
    # The operator asks every few seconds, which no log needs; SIGTERM is the supervisor's to answer.
    runner = web.AppRunner(build_application(read), access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def _add_progress(application: web.Application, read: ReadProgress) -> None:
    # Its own registry: the default one adds metrics of this process, which say nothing about the training.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ProgressCollector(read))

    async def progress(_: web.Request) -> web.Response:
        return web.Response(text=read().to_json(), content_type="application/json")

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application.router.add_get("/progress", progress)
    application.router.add_get("/metrics", metrics)


async def _healthz(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")
