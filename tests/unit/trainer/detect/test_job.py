"""Sample media after a training: what is done in time is kept, and what cannot be read costs itself only."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from devcluster.waiting import wait_until
from masktrain_trainer.config import CONFIG_VARIABLE, EvaluationSpec, StepResult, StoreSpec
from masktrain_trainer.detect.job import Watch, evaluate_media
from masktrain_trainer.run_directory import RunDirectory, read_document
from tests.conftest import fill
from tests.media.servers import mute_server
from tests.stores.training_run import run_config
from tests.unit.trainer.export.conftest import write_best

NOWHERE = Path("/nowhere")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_best(tmp_path_factory.mktemp("weights") / "best.pt")


@pytest.fixture
def run(tmp_path: Path, weights: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    directory.best_model.write_bytes(weights.read_bytes())
    return directory


def media(folder: Path, *names: str) -> list[str]:
    for name in names:
        Image.fromarray(np.full((48, 64, 3), 90, np.uint8)).save(folder / name)
    return [(folder / name).as_uri() for name in names]


def test_each_source_has_a_folder_of_its_own(run: RunDirectory, tmp_path: Path) -> None:
    spec = EvaluationSpec(sources=media(tmp_path, "a.png", "b.jpg"))
    result = evaluate_media(spec, run, NOWHERE)
    assert (result.done, result.reason) == (True, "Evaluated")
    found = sorted(str(path.relative_to(run.evaluated_media)) for path in run.evaluated_media.rglob("*.[pj]*g"))
    assert found == ["1-a/a.png", "2-b/b.jpg"]
    assert not run.media_scratch.exists()


def test_a_source_that_is_not_there_costs_itself_only(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "no film.mp4").write_bytes(b"text")
    gone = (tmp_path / "gone.mp4").as_uri()
    spec = EvaluationSpec(sources=[gone, (tmp_path / "no film.mp4").as_uri(), *media(tmp_path, "a.png")])
    result = evaluate_media(spec, run, NOWHERE)
    assert (result.done, result.reason) == (False, "SourceUnusable")
    assert result.message.startswith(f"{gone} does not exist; correct evaluation.sources.")
    assert result.message.endswith("1 more could not be used; the log has them.")
    assert (run.evaluated_media / "3-a" / "a.png").exists()


def test_time_that_is_up_ends_it_with_what_was_done(run: RunDirectory, tmp_path: Path) -> None:
    spec = EvaluationSpec.model_construct(sources=media(tmp_path, "a.png", "b.png"), store=None, time_limit_seconds=0)
    result = evaluate_media(spec, run, NOWHERE)
    assert (result.done, result.reason) == (False, "TimeLimit")
    assert result.message == (
        "After 0 s (evaluation.timeLimitSeconds) 0 sources of 2 were done; what was begun plays up to there."
    )


def test_a_hidden_or_very_long_name_is_no_hindrance(run: RunDirectory, tmp_path: Path) -> None:
    (hidden,) = media(tmp_path, ".hidden.png")
    long = EvaluationSpec(
        sources=[hidden, f"s3://media/{'a' * 900}.png"], store=StoreSpec(endpoint="http://127.0.0.1:9")
    )
    result = evaluate_media(long, run, NOWHERE, Watch(60))
    assert (run.evaluated_media / "1-hidden" / "hidden.png").exists()
    assert result.reason == "SourceUnusable"


def test_a_download_that_hangs_costs_itself_only(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "AKSOMETHING")
    monkeypatch.setattr("masktrain_trainer.detect.job._LEAST_SHARE_SECONDS", 0.0)
    with mute_server() as port:
        store = StoreSpec(endpoint=f"http://127.0.0.1:{port}")
        spec = EvaluationSpec(sources=["s3://media/street.mp4", *media(tmp_path, "abc.png", "def.png")], store=store)
        # A third of it for the first.
        result = evaluate_media(spec, run, NOWHERE, Watch(30))
    assert (result.done, result.reason) == (False, "SourceUnusable")
    assert result.message == "s3://media/street.mp4 has sent no picture in its share of the time, 10 s."
    assert (run.evaluated_media / "3-def" / "def.png").exists()


def test_a_full_disk_is_one_sentence(tmp_path: Path, weights: Path, small_disk: Path) -> None:
    run = RunDirectory(small_disk / "run")
    run.create()
    run.best_model.symlink_to(weights)
    fill(small_disk)
    (source,) = media(tmp_path, "a.png")
    result = evaluate_media(EvaluationSpec(sources=[source]), run, NOWHERE)
    assert (result.done, result.reason) == (False, "UnwritableResults")
    assert result.message == f"The disk here has no room for {source}."


@contextmanager
def job(run: RunDirectory, source: str) -> "Iterator[subprocess.Popen[bytes]]":
    """The step as a pod starts it."""
    config = run_config().model_copy(update={"evaluation": EvaluationSpec(sources=[source])})
    environment = {**os.environ, CONFIG_VARIABLE: config.to_json(), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "masktrain_trainer.detect.job", "--run-directory", str(run.root)]
    with subprocess.Popen(command, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


def stopped(run: RunDirectory, process: "subprocess.Popen[bytes]") -> StepResult:
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    result = read_document(run.media_result, StepResult)
    assert result is not None
    return result


def test_a_video_that_a_stop_cuts_off_plays_up_to_there(run: RunDirectory, tmp_path: Path) -> None:
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (64, 64))
    for number in range(3000):
        writer.write(np.full((64, 64, 3), number % 256, np.uint8))
    writer.release()
    table = run.media_scratch / "1-long" / "predictions.csv"
    with job(run, long.as_uri()) as process:
        wait_until(
            lambda: process.poll() is not None or (table.exists() and table.stat().st_size > 1000), "a frame", 60
        )
        result = stopped(run, process)
    assert (result.done, result.reason) == (False, "Stopped")
    assert result.message == (
        "When the pod was asked to stop, 0 sources of 1 were done; what was begun plays up to there."
    )
    capture = cv2.VideoCapture(str(run.evaluated_media / "1-long" / "long.webm"))
    frames = 0
    while capture.read()[0]:
        frames += 1
    assert 0 < frames < 3000
    assert not run.media_scratch.exists()


def test_a_stop_ends_a_source_that_says_nothing(run: RunDirectory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        with job(run, f"https://127.0.0.1:{server.getsockname()[1]}/a.mp4") as process:
            server.settimeout(60)
            connection, _ = server.accept()
            result = stopped(run, process)
        connection.close()
    assert (result.done, result.reason) == (False, "Stopped")
    assert not run.evaluated_media.exists()
