"""From a manifest to one attempt here: identity, ranks, places."""

from pathlib import Path

import pytest

from masktrain_trainer.errors import UserError
from masktrain_trainer.files import RESULTS_MARK
from masktrain_trainer.local import job as jobs
from masktrain_trainer.local.job import JobOptions, LocalJob, plan_job
from masktrain_trainer.local.results import local_path, results_folder

JOB = """\
apiVersion: masktrain.dev/v1alpha1
kind: MaskTrainingJob
metadata: {name: masks, namespace: vision}
spec:
  dataset: {uri: s3://datasets/masks.zip}
  training: {batchSize: 16}
  compute: {gpusPerNode: 4, env: [{name: GREETING, value: hello}, {name: TOKEN, valueFrom: {}}]}
"""


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MASKTRAIN_DEVICE", raising=False)


def plan(tmp_path: Path, *assignments: str, gpus: int = 0, data: str | None = None) -> LocalJob:
    (tmp_path / "job.yaml").write_text(JOB)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jobs, "cuda_devices", lambda: gpus)
        return plan_job(JobOptions(tmp_path / "job.yaml", data, None, None, assignments), tmp_path)


@pytest.mark.parametrize(("gpus", "ranks", "device"), [(0, 4, "cpu"), (2, 2, "auto"), (8, 4, "auto")])
def test_ranks_are_the_jobs_but_no_more_than_gpus(tmp_path: Path, gpus: int, ranks: int, device: str) -> None:
    job = plan(tmp_path, gpus=gpus)
    assert job.ranks == ranks
    assert job.environment == {"GREETING": "hello", "MASKTRAIN_DEVICE": device}


def test_a_batch_that_cannot_be_shared_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="must be a multiple of the 3 ranks"):
        plan(tmp_path, gpus=3)


def test_the_same_training_goes_on_and_another_one_starts_anew(tmp_path: Path) -> None:
    first = plan(tmp_path).config.uid
    assert plan(tmp_path).config.uid == first
    assert plan(tmp_path, "training.epochs=3").config.uid != first
    assert plan(tmp_path, "limits.hangTimeoutSeconds=30").config.uid == first
    assert plan(tmp_path, "training.requireFitness=true").config.uid == first


def test_a_folder_is_known_by_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "data.yaml").write_text("names: [a]")
    first = plan(tmp_path, data=str(folder)).config
    assert first.dataset.uri is not None
    assert first.dataset.uri.endswith("dataset.zip")
    (folder / "data.yaml").touch()
    assert plan(tmp_path, data=str(folder)).config.uid == first.uid
    (folder / "data.yaml").write_text("names: [b]")
    assert plan(tmp_path, data=str(folder)).config.uid != first.uid


@pytest.mark.parametrize("output", [None, ".", "train", "new/folder"])
def test_results_within_the_data_are_no_data(
    output: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`masktrain train job.yaml --data .` twice: the first one's pictures must not become data of the second."""
    folder, scratch = tmp_path / "data", tmp_path / "scratch"
    for place in (folder, scratch):
        place.mkdir()
    (folder / "train").mkdir()
    (folder / "train" / "a.jpg").write_bytes(b"data")
    (folder / "data.yaml").write_text("names: [a]")
    (folder / "job.yaml").write_text(JOB)
    monkeypatch.chdir(folder)
    options = JobOptions(folder / "job.yaml", str(folder), output, assignments=("compute.gpusPerNode=1",))
    first = plan_job(options, scratch).config
    results = Path(results_folder(first))
    results.mkdir(parents=True, exist_ok=True)
    (results / "val_batch0_pred.jpg").write_bytes(b"a picture")
    (results / "per_class.txt").write_text("a table")
    assert plan_job(options, scratch).config.uid == first.uid
    # Those marks would be about the data.
    assert not any((place / RESULTS_MARK).exists() for place in (folder, folder / "train"))


def test_results_lie_beside_the_manifest(tmp_path: Path) -> None:
    assert results_folder(plan(tmp_path).config) == f"{tmp_path}/runs/vision/masks/"


@pytest.mark.parametrize(("assignments", "weights"), [((), "official"), (("model.weights=scratch",), "scratch")])
def test_a_manifest_means_here_what_a_new_job_means_in_a_cluster(
    tmp_path: Path, assignments: tuple[str, ...], weights: str
) -> None:
    model = plan(tmp_path, *assignments).config.model
    assert model.weights == weights
    assert model.weights_shown == {"official": "YOLOv5's official weights", "scratch": "scratch"}[weights]


@pytest.mark.parametrize("name", ["my data #1", "100% masks", "a?b", "Übung[yolo](v8n)", "a%20b"])
def test_places_are_said_as_they_are(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    assert results_folder(plan(tmp_path / name).config) == f"{tmp_path}/{name}/runs/vision/masks/"
    assert local_path((tmp_path / name / "best.pt").as_uri()) == f"{tmp_path}/{name}/best.pt"


def test_what_a_folder_is_trained_without_is_a_note(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    (folder / ".ipynb_checkpoints").mkdir(parents=True)
    (folder / "data.yaml").write_text("names: [a]")
    notes = plan(tmp_path, data=str(folder)).notes
    assert "left out, hidden, or put there by the system: 1 (.ipynb_checkpoints)" in notes
