"""What a pod exports after its training: twins among the artifacts, a sentence with a number for what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from masktrain_trainer.config import ExportFormat, ExportSpec
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.export import twin
from masktrain_trainer.export.job import export_job
from masktrain_trainer.predict.models import Model
from masktrain_trainer.run_directory import ExportResult, RunDirectory


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path / "run")
    directory.create()
    shutil.copy(trained, directory.best_model)
    return directory


def test_twins_lie_among_the_artifacts_with_their_scores(run: RunDirectory, rectangles: PreparedDataset) -> None:
    spec = ExportSpec(formats=[ExportFormat.OPENVINO], int8=True, max_accuracy_loss=1)
    result = export_job(spec, run, rectangles)
    assert (result.done, result.reason) == (True, "Exported")
    assert result.message == "best_openvino_model and best-int8_openvino_model lie beside best.pt."
    assert result.original is not None
    assert result.original.map50 > 0.3
    assert [row.kind for row in result.twins] == ["OpenVINO FP16", "OpenVINO INT8"]
    assert all(row.frames_per_second > 0 and row.megabytes > 1 for row in result.twins)
    assert {path.name for path in run.artifacts.iterdir()} == {"best_openvino_model", "best-int8_openvino_model"}
    assert ExportResult.model_validate_json(result.to_json()) == result


def test_a_twin_that_loses_too_much_is_refused_with_its_number(
    run: RunDirectory, rectangles: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Measured by whatever measures; here a twin that sees nothing of what it saw."""
    measured = twin._scores

    def worse(model: Model, prepared: PreparedDataset) -> twin.TwinScores:
        found = measured(model, prepared)
        return found if model.title.startswith("best.pt") else replace(found, map50=0.0)

    monkeypatch.setattr(twin, "_scores", worse)
    result = export_job(ExportSpec(formats=[ExportFormat.ONNX]), run, rectangles)
    assert (result.done, result.reason) == (False, "AccuracyLoss")
    assert "best.onnx (ONNX FP32) is refused: its mAP50 is 0.0000" in result.message
    assert "where 0.01 is allowed" in result.message
    assert list(run.artifacts.iterdir()) == []


def test_a_step_that_is_cut_off_leaves_nothing_unproven(
    run: RunDirectory, rectangles: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(twin, "_judged", cut_off)
    with pytest.raises(KeyboardInterrupt):
        export_job(ExportSpec(formats=[ExportFormat.ONNX]), run, rectangles)
    assert (run.unproven_twins / "best.onnx").exists()
    assert list(run.artifacts.iterdir()) == []


def test_what_cannot_be_exported_is_a_sentence(run: RunDirectory, rectangles: PreparedDataset) -> None:
    run.best_model.write_bytes(b"no weights")
    result = export_job(ExportSpec(formats=[ExportFormat.ONNX]), run, rectangles)
    assert (result.done, result.reason, result.twins) == (False, "InvalidWeights", [])
    assert "best.pt" in result.message


def test_twins_that_find_no_room_are_a_sentence(run: RunDirectory, rectangles: PreparedDataset) -> None:
    run.unproven_twins.touch()  # no folder can be made there
    result = export_job(ExportSpec(formats=[ExportFormat.ONNX]), run, rectangles)
    assert (result.done, result.reason) == (False, "UnwritableResults")
    assert "cannot be written" in result.message or "could not be written" in result.message
