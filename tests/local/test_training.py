"""`masktrain train` as a person uses it: with a table on a terminal, Ctrl-C, the same command again."""

import json
import os
import pty
import re
import signal
from pathlib import Path

import pytest

from masktrain_trainer.config import ExitCode
from tests.local.workplace import Workplace

COMMAND = ("train", "job.yaml", "--data", "tiny", "--set", "training.epochs=12", "--output", "results")


def read_until(terminal: int, pattern: str, text: str = "") -> str:
    """What the terminal shows up to `pattern`; all of it if the pattern never comes."""
    while not re.search(pattern, text):
        try:
            text += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # how Linux says that nobody has the other end open
            break
    return text


def test_a_stopped_training_goes_on_and_a_complete_one_is_not_repeated(workplace: Workplace) -> None:
    terminal, screen = pty.openpty()
    process = workplace.start(*COMMAND, output=screen)
    os.close(screen)
    shown = read_until(terminal, r"epoch 1/11")
    process.send_signal(signal.SIGINT)
    shown = read_until(terminal, r"(?!)", shown)
    assert process.wait(60) == ExitCode.STOPPED, shown
    assert re.search(r"images/s.*left", shown), "no moving table"
    assert re.search(r"[1-4]/4 batches", shown), "no bar of batches"
    assert "The same command goes on from there." in shown
    assert "checkpoint.uri, checkpoint.store.credentialsSecretRef, compute.nodes, compute.nodePoolRef" in shown
    assert workplace.left_over() == []

    resumed = workplace.run(*COMMAND)
    assert resumed.returncode == 0, resumed.stdout + resumed.stderr
    assert "going on from the checkpoint of epoch" in resumed.stdout
    assert "\x1b[" not in resumed.stdout
    results = workplace.folder / "results" / "default" / "tiny"
    assert str(results / "best.pt") in resumed.stdout
    assert len((results / "results.csv").read_text().splitlines()) == 13
    assert workplace.left_over() == []

    again = workplace.run(*COMMAND)
    assert again.returncode == 0
    assert "already finished" in again.stdout
    assert str(results / "best.pt") in again.stdout

    scored = workplace.run("val", "--weights", str(results / "best.pt"), "--data", "tiny", "--json")
    assert scored.returncode == 0, scored.stderr
    scores = json.loads(scored.stdout)
    assert scores["overall"]["images"] == 4

    assert (
        workplace.run("export", str(results / "best.pt"), "--format", "yolov5", "--output", "theirs.pt").returncode == 0
    )
    theirs = workplace.run(
        "val", "--weights", "theirs.pt", "--data", "tiny", "--image-size", str(scores["imageSize"]), "--json"
    )
    assert json.loads(theirs.stdout)["classes"] == scores["classes"]


ONE_EPOCH = (*COMMAND, "--set", "training.epochs=1")


def test_two_ranks_share_a_validation_of_one_picture(workplace: Workplace) -> None:
    for number, picture in enumerate(sorted((workplace.folder / "tiny" / "valid" / "images").iterdir())):
        if number:
            picture.unlink()
    done = workplace.run(*ONE_EPOCH, "--set", "compute.gpusPerNode=2", "--set", "training.batchSize=4")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Training on CPUs with 2 rank(s)." in done.stdout
    assert (workplace.folder / "results" / "default" / "tiny" / "best.pt").exists()


def test_another_image_size_is_another_training_beside_the_first(workplace: Workplace) -> None:
    first = workplace.run(*ONE_EPOCH)
    other = workplace.run(*ONE_EPOCH, "--set", "training.imageSize=96")
    for done in (first, other):
        assert done.returncode == 0, done.stdout + done.stderr
        assert "going on from" not in done.stdout
        assert "already finished" not in done.stdout


@pytest.mark.timeout(300)
def test_no_rank_outlives_a_killed_command(workplace: Workplace) -> None:
    """All its processes inherited the pipe, which ends with the last of them; the training would take hours."""
    read, write = os.pipe()
    process = workplace.start(*COMMAND, "--set", "training.epochs=10000", output=write)
    os.close(write)
    with os.fdopen(read, "rb") as output:
        assert any(b"epoch 1/9999" in line for line in output), "it trains"
        process.kill()
        assert process.wait() == -signal.SIGKILL
        while output.readline():
            pass


def test_a_failure_of_a_stage_is_one_sentence_and_64(workplace: Workplace) -> None:
    (workplace.folder / "tiny" / "data.yaml").unlink()
    result = workplace.run(*COMMAND)
    assert result.returncode == ExitCode.USER_ERROR
    assert result.stderr.strip().splitlines()[-1].startswith("masktrain train: The data set has no data.yaml")
    assert "Traceback" not in result.stderr


def test_preflight_names_every_skipped_image_and_writes_nothing_beside_the_data(workplace: Workplace) -> None:
    labels = sorted((workplace.folder / "tiny" / "train" / "labels").iterdir())
    for label in labels[:12]:
        label.write_text("0 48 32 20 20\n")
    before = _files(workplace.folder / "tiny")
    result = workplace.run("preflight", "job.yaml", "--data", "tiny")
    assert result.returncode == 0, result.stderr
    assert all(f"{label.stem}.jpg is skipped" in result.stdout for label in labels[:12])
    assert "weights: none, the training starts from scratch" in result.stdout
    assert "advice: training.batchSize 4 is below 16" in result.stdout
    assert _files(workplace.folder / "tiny") == before


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
