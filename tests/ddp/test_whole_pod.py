"""A trainer pod from start to exit code, without a cluster: real supervisor, torchrun, uploader and store."""

import csv
import json
import re
import signal
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from masktrain_trainer.checkpoint.fence import claim_run
from masktrain_trainer.checkpoint.keys import JobKeys
from masktrain_trainer.config import ExitCode, OutcomeKind, Phase
from masktrain_trainer.stores.folder import FolderStore
from masktrain_trainer.weights.load import load_model_file
from tests.ddp.pod import Pod, is_training
from tests.ddp.tiny_dataset import NAMES, write_dataset

StartPod = Callable[..., Pod]


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset") / "tiny data.zip")


@pytest.fixture
def start(tmp_path: Path, dataset: Path) -> Iterator[StartPod]:
    """Start pods; whatever happens, none outlives the test."""
    pods: list[Pod] = []

    def start_pod(name: str = "pod", **options: Any) -> Pod:
        defaults = {"store": tmp_path / "store", "dataset": dataset, "training": {"epochs": 2}}
        pods.append(Pod(tmp_path / name, **{**defaults, **options}).start())
        return pods[-1]

    yield start_pod
    for pod in pods:
        if pod.process.poll() is None:
            pod.process.kill()
            pod.process.wait()


def stored(store: Path) -> list[str]:
    return sorted(str(path.relative_to(store)) for path in store.rglob("*") if path.is_file())


def read_scores(table: Path) -> dict[str, str]:
    """The row of all classes on the validation split."""
    with table.open(encoding="utf-8", newline="") as file:
        return next(row for row in csv.DictReader(file) if (row["split"], row["name"]) == ("val", "all"))


def test_a_pod_trains_stores_its_results_and_ends_with_0(start: StartPod, tmp_path: Path) -> None:
    pod = start()
    assert pod.wait() == 0, pod.log
    files = stored(tmp_path / "store")
    assert {"team/tiny/best.pt", "team/tiny/result.json", "team/tiny/results.csv", "team/tiny/report.html"} <= set(
        files
    )
    drawn = ("labels.png", "train_batch0.jpg", "PR_curve.png", "val_batch0_pred.jpg", "per_class.csv")
    assert {f"team/tiny/{name}" for name in drawn} <= set(files)
    assert not [name for name in files if "/ckpt/" in name]
    model = load_model_file(tmp_path / "store/team/tiny/best.pt")
    assert (model.names, model.image_size) == (NAMES, 64)
    words = pod.last_words
    assert (pod.outcome.kind, words.phase, words.epoch) == (OutcomeKind.COMPLETE, Phase.FINISHED, 2)
    assert words.dataset is not None
    assert words.dataset.classes == NAMES
    assert words.best is not None
    assert words.best.uri.endswith("best.pt")
    assert len((tmp_path / "store/team/tiny/results.csv").read_text().splitlines()) == 3


def test_what_follows_a_training_is_stored_with_it_and_costs_it_nothing(start: StartPod, tmp_path: Path) -> None:
    """Twins and sample media; one of the media is not there, and eight bits may not lose anything."""
    Image.new("RGB", (96, 64), "grey").save(tmp_path / "street.png")
    sources = [(tmp_path / "street.png").as_uri(), (tmp_path / "gone.mp4").as_uri()]
    after = {"export": {"formats": ["OpenVINO", "ONNX"]}, "evaluation": {"sources": sources}}
    pod = start(after=after)
    assert pod.wait() == 0, pod.log
    files = set(stored(tmp_path / "store"))
    assert {"best.onnx", "best_openvino_model/best.xml", "best_openvino_model/best.bin"} <= {
        name.removeprefix("team/tiny/") for name in files
    }
    assert "team/tiny/evaluation/1-street/street.png" in files
    words = pod.last_words
    assert words.outcome is not None
    assert words.outcome.kind is OutcomeKind.COMPLETE
    assert words.exported is not None
    assert (words.exported.done, words.exported.reason) == (True, "Exported")
    assert words.evaluated is not None
    assert (words.evaluated.done, words.evaluated.reason) == (False, "SourceUnusable")
    assert "gone.mp4 does not exist" in words.evaluated.message
    assert "best_openvino_model" in (tmp_path / "store/team/tiny/report.html").read_text(encoding="utf-8")
    assert not [name for name in files if "/." in name]
    again = start("again", attempt=1, after=after)
    assert again.wait() == 0, again.log
    assert "exporting" not in again.log
    assert (again.last_words.exported, again.last_words.evaluated) == (words.exported, words.evaluated)


def test_a_stop_during_what_follows_a_training_costs_the_training_nothing(start: StartPod, tmp_path: Path) -> None:
    long = tmp_path / "long.avi"
    writer = cv2.VideoWriter(str(long), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25.0, (1280, 720))
    for number in range(2000):
        writer.write(np.full((720, 1280, 3), number % 256, np.uint8))
    writer.release()
    pod = start(after={"evaluation": {"sources": [long.as_uri()]}, "export": {"formats": ["ONNX"]}})
    pod.wait_until(lambda progress: progress.detail.startswith("running best.pt on"))
    pod.stop()
    assert pod.wait() == 0, pod.log
    words = pod.last_words
    assert pod.outcome.kind is OutcomeKind.COMPLETE
    assert words.exported is not None
    assert words.exported.done
    assert words.evaluated is not None
    assert (words.evaluated.done, words.evaluated.reason) == (False, "Stopped")
    assert {"team/tiny/best.pt", "team/tiny/best.onnx", "team/tiny/report.html"} <= set(stored(tmp_path / "store"))


def test_the_last_word_is_about_best_pt_not_about_the_last_epoch(start: StartPod, tmp_path: Path) -> None:
    hyperparameters = {"learningRate": 0.003, "warmupMinIterations": 5, "nominalBatchSize": 4, "emaRampSteps": 20}
    training = {"epochs": 30, "optimizer": "AdamW", "hyperparameters": hyperparameters}
    pod = start(training=training)
    assert pod.wait() == 0, pod.log
    words, overall = pod.last_words, read_scores(tmp_path / "store/team/tiny/per_class.csv")
    assert words.map50 == pytest.approx(float(overall["mAP50"]), abs=1e-5)
    assert words.map50_95 == pytest.approx(float(overall["mAP50-95"]), abs=1e-5)
    assert words.losses is not None


@pytest.fixture(scope="session")
def unmatched(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pictures, with validation boxes that are smaller than anything a model ever finds."""
    path = tmp_path_factory.mktemp("unmatched") / "tiny.zip"
    with zipfile.ZipFile(dataset) as whole, zipfile.ZipFile(path, "w") as changed:
        for name in whole.namelist():
            is_label = name.startswith("valid/labels/")
            changed.writestr(name, b"0 0.5 0.5 0.001 0.001\n" if is_label else whole.read(name))
    return path


def test_without_a_fitness_the_newest_weights_are_best_pt_and_all_say_so(
    start: StartPod, unmatched: Path, tmp_path: Path
) -> None:
    """Epoch 0 was the best, and patience ended the training with it."""
    hyperparameters = {"warmupEpochs": 0, "warmupMinIterations": 0}
    pod = start(dataset=unmatched, training={"epochs": 4, "patience": 1, "hyperparameters": hyperparameters})
    assert pod.wait() == 0, pod.log
    words = pod.last_words
    assert words.best is not None
    assert (words.best.epoch, words.best.fitness) == (3, 0)
    assert pod.outcome.message == (
        "Trained 4 epochs; none had a fitness above 0, so best.pt holds the newest weights, those of epoch 3."
    )
    assert words.fitness_warning is not None
    assert "no detection matched any of the 4 boxes of the validation split" in words.fitness_warning
    report = (tmp_path / "store/team/tiny/report.html").read_text()
    assert "no detection matched any of the 4 boxes" in report
    assert torch.load(tmp_path / "store/team/tiny/best.pt", weights_only=True)["epoch"] == 3


def test_a_job_that_requires_a_fitness_fails_with_the_newest_weights_left(
    start: StartPod, unmatched: Path, tmp_path: Path
) -> None:
    pod = start(dataset=unmatched, training={"epochs": 2, "requireFitness": True})
    assert pod.wait() == ExitCode.USER_ERROR, pod.log
    assert (pod.outcome.kind, pod.outcome.reason) == (OutcomeKind.USER_ERROR, "NoFitness")
    assert pod.outcome.message.startswith("training.requireFitness is not met: No epoch had a fitness above 0")
    assert torch.load(tmp_path / "store/team/tiny/uid-1/best.pt", weights_only=True)["epoch"] == 1
    second = start("second", dataset=unmatched, attempt=1)
    assert second.wait() == 0, second.log
    assert second.outcome.message.startswith("Trained 2 epochs; none had a fitness above 0")
    assert second.last_words.best is not None
    assert second.last_words.best.epoch == 1
    third = start("third", dataset=unmatched, attempt=2, training={"epochs": 2, "requireFitness": True})
    assert third.wait() == ExitCode.USER_ERROR, "also of a training that is complete already"
    assert third.outcome.message.startswith("training.requireFitness is not met: No validation gave best.pt")


def test_a_stopped_pod_exits_75_and_the_next_one_completes(start: StartPod, tmp_path: Path) -> None:
    first = start("first", training={"epochs": 40})
    first.wait_until(is_training)
    first.stop()
    assert first.wait() == 75, first.log
    saved = first.last_checkpoint
    assert saved.step == first.last_words.step
    second = start("second", attempt=1, training={"epochs": saved.epoch + 2})
    assert second.wait() == 0, second.log
    resumed_from = second.last_words.resumed_from
    assert resumed_from is not None
    assert resumed_from.sha256 == saved.sha256
    epochs = [
        line.split(",")[0].strip() for line in (tmp_path / "store/team/tiny/results.csv").read_text().splitlines()
    ]
    assert epochs == ["epoch", *(str(epoch) for epoch in range(saved.epoch + 2))]


def test_pods_that_are_killed_and_stopped_end_with_the_numbers_of_one_that_never_was(
    start: StartPod, tmp_path: Path
) -> None:
    training = {"epochs": 10}
    assert start("whole", store=tmp_path / "whole store", training=training).wait() == 0
    killed = start("killed", training=training)
    killed.wait_until(lambda progress: progress.last is not None)
    killed.kill()
    stopped = start("stopped", attempt=1, training={**training, "workers": 2})
    stopped.wait_until(is_training)
    stopped.stop()
    assert stopped.wait() == 75, stopped.log
    last = start("last", attempt=2, training=training)
    assert last.wait() == 0, last.log
    whole, resumed = (tmp_path / folder / "team" / "tiny" for folder in ("whole store", "store"))
    assert (whole / "results.csv").read_bytes() == (resumed / "results.csv").read_bytes()
    expected, found = (load_model_file(folder / "best.pt") for folder in (whole, resumed))
    assert (found.epoch, found.step, found.metrics) == (expected.epoch, expected.step, expected.metrics)
    assert all(torch.equal(found.state_dict[name], tensor) for name, tensor in expected.state_dict.items())


def test_a_rank_that_stands_still_ends_the_pod_with_76(start: StartPod) -> None:
    pod = start(training={"epochs": 1000}, hang_timeout=10)
    pod.wait_until(is_training)
    pod.freeze_rank(1)
    assert pod.wait() == 76, pod.log
    assert pod.outcome.kind is OutcomeKind.HUNG
    assert "has stood still for" in pod.outcome.message
    assert re.search(r"rank 0 in (step|loop)\.py", pod.outcome.message), pod.outcome.message
    assert "stacks of local rank 0:\nThread" in pod.log or "stacks of local rank 0:\nCurrent thread" in pod.log


def test_a_lost_rank_is_a_crash_that_names_the_cause(start: StartPod) -> None:
    pod = start(training={"epochs": 1000})
    pod.wait_until(is_training)
    pod.signal_rank(1, signal.SIGKILL)
    assert pod.wait() == 1, pod.log
    assert (pod.outcome.kind, pod.outcome.reason) == (OutcomeKind.CRASHED, "ProcessLost")


def test_a_bad_data_set_ends_with_64_and_a_sentence(start: StartPod, tmp_path: Path) -> None:
    broken = write_dataset(tmp_path / "broken.zip", data_yaml="train: ../train/images\nval: ../valid/images\n")
    pod = start(dataset=broken)
    assert pod.wait() == 64, pod.log
    outcome = pod.outcome
    assert (outcome.kind, outcome.reason) == (OutcomeKind.USER_ERROR, "InvalidDataset")
    assert "names" in outcome.message
    assert "Traceback" not in pod.log


def test_a_pod_without_gpus_says_so(start: StartPod, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    pod = start(training={"epochs": 1}, device="auto")
    assert pod.wait() == 64, pod.log
    assert pod.outcome.reason == "InvalidConfiguration"
    assert "0 usable CUDA device(s) for 2 rank(s)" in pod.outcome.message
    # Before the data set was fetched.
    assert "prepare:" not in pod.log
    assert json.loads((tmp_path / "pod/termination-log").read_text())["attempt"] == 0


def test_a_pod_whose_job_another_pod_writes_ends_with_77(start: StartPod, tmp_path: Path) -> None:
    """Its uploader finds that out with the next checkpoint; the steps after that would be nobody's."""
    keys = JobKeys("team", "tiny", "uid-1")
    pod = start(training={"epochs": 1000})
    pod.wait_until(is_training)
    claim_run(FolderStore(tmp_path / "store"), keys, 1, "another pod")
    assert pod.wait() == ExitCode.FENCED, pod.log
    assert (pod.outcome.kind, pod.outcome.reason) == (OutcomeKind.FENCED, "Fenced")
    assert pod.outcome.message == "Run 1.0 of this job writes now; run 0.0 stops writing."
    late = start("late")
    assert late.wait() == ExitCode.FENCED, late.log
    assert late.outcome.message == "Run 1.0 of this job writes now; run 0.1 stops writing."
