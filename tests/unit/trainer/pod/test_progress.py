"""What `/progress`, `/metrics` and `/healthz` answer, asked over real HTTP."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from masktrain_trainer.checkpoint.spool import UploaderStatus
from masktrain_trainer.config import (
    CheckpointRef,
    DatasetSummary,
    Losses,
    Outcome,
    Phase,
    Progress,
    StepResult,
    Steps,
)
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.pod.outcome import termination_message
from masktrain_trainer.pod.progress import AttemptProgress, build_application
from masktrain_trainer.run_directory import RestoreResult, RunDirectory, TrainingProgress
from tests.stores.training_run import run_config

PROGRESS = Progress(
    attempt=1,
    phase=Phase.TRAINING,
    epoch=4,
    epochs=10,
    step=120,
    images_per_second=24.5,
    losses=Losses(box=0.1, objectness=0.2, classification=0.3),
    map50=0.61,
    updated_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture
async def client() -> AsyncIterator[TestClient[Any, Any]]:
    async with TestClient(TestServer(build_application(lambda: PROGRESS))) as client:
        yield client


async def test_progress_is_the_contracts_document(client: TestClient[Any, Any]) -> None:
    answer = await client.get("/progress")
    assert answer.content_type == "application/json"
    assert Progress.model_validate_json(await answer.text()) == PROGRESS


async def test_metrics_are_prometheus_text(client: TestClient[Any, Any]) -> None:
    text = await (await client.get("/metrics")).text()
    assert "masktrain_step 120.0" in text
    assert "masktrain_map50 0.61" in text
    assert "masktrain_store_failing 0.0" in text
    assert "masktrain_eta_seconds " not in text


async def test_a_pod_without_rank_0_only_says_that_it_lives() -> None:
    async with TestClient(TestServer(build_application(None))) as client:
        assert (await client.get("/healthz")).status == 200
        assert (await client.get("/progress")).status == 404


@pytest.mark.parametrize(("minutes", "stale"), [(15, False), (16, True)])
@pytest.mark.parametrize("stored", [False, True])
def test_checkpoints_that_stay_away_show_by_their_age(tmp_path: Path, minutes: int, stale: bool, stored: bool) -> None:
    """From the first step, or from the newest checkpoint; the bound is three intervals, here of 300 s at most."""
    began = datetime(2026, 1, 1, tzinfo=UTC)
    run = RunDirectory(tmp_path)
    attempt = AttemptProgress(run_config(), run)
    assert attempt.progress(began - timedelta(hours=1)).store_error is None, "nothing is late before the training"
    write_text_atomically(run.progress, TrainingProgress(phase=Phase.TRAINING, epoch=0, epochs=9, step=1).to_json())
    attempt.enter(Phase.RENDEZVOUS)
    attempt.progress(began)
    if stored:
        began += timedelta(minutes=30)
        last = CheckpointRef(uri="s3://x/state.pt", sha256="0" * 64, size_bytes=1, epoch=0, step=1, verified_at=began)
        write_text_atomically(run.uploader_status, UploaderStatus(last=last).to_json())
    error = attempt.progress(began + timedelta(minutes=minutes)).store_error
    assert (error is not None) == stale
    if error is not None:
        assert error.startswith(f"No checkpoint has been verified in the store since {began:%Y-%m-%dT%H:%M:%SZ}")
    attempt.enter(Phase.DRAINING)
    assert attempt.progress(began + timedelta(hours=9)).store_error is None


def test_a_training_without_a_fitness_is_told_to_the_operator(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    attempt = AttemptProgress(run_config(), run)
    told = TrainingProgress(phase=Phase.VALIDATING, epoch=9, epochs=9, step=1, fitness_warning="No epoch had one.")
    write_text_atomically(run.progress, told.to_json())
    attempt.enter(Phase.DRAINING)
    assert attempt.progress().model_warning == "No epoch had one."
    attempt.finish(Outcome.complete("Done."))
    large = DatasetSummary(classes=["c" * 256] * 50, images=1, boxes=1, validation_images=1, validation_boxes=0)
    attempt.set_dataset(large)
    assert Progress.model_validate_json(termination_message(attempt.progress())).model_warning == "No epoch had one."


def test_a_container_that_finds_the_job_complete_says_what_followed_the_training(tmp_path: Path) -> None:
    exported = StepResult(done=True, reason="Exported", message="best.onnx lies beside best.pt.")
    evaluated = StepResult(done=False, reason="TimeLimit", message="It was late.")
    attempt = AttemptProgress(run_config(), RunDirectory(tmp_path))
    attempt.set_restored(RestoreResult(completed=True, steps=Steps(exported=exported, evaluated=evaluated)))
    attempt.finish(Outcome.complete("An earlier attempt had already finished everything."))
    words = Progress.model_validate_json(termination_message(attempt.progress()))
    assert (words.exported, words.evaluated) == (exported, evaluated)


def test_a_termination_message_without_room_keeps_what_followed_the_training(tmp_path: Path) -> None:
    long = StepResult(done=False, reason="SourceUnusable", message="ü" * 2000)
    attempt = AttemptProgress(run_config(), RunDirectory(tmp_path))
    attempt.add_step(exported=long, evaluated=long)
    attempt.finish(Outcome.complete("Done."))
    words = Progress.model_validate_json(termination_message(attempt.progress()))
    assert words.exported is not None
    assert words.evaluated is not None
    assert (words.exported.reason, words.evaluated.done) == ("SourceUnusable", False)
