"""OpenVINO's files as `masktrain export` writes them, judged on real numbers of a model that has learnt something."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from masktrain_trainer.cli.main import main
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.export.openvino import OpenVinoOptions, write_openvino
from masktrain_trainer.export.twin import ONNX, OPENVINO, Twin, TwinOptions, export_twins
from masktrain_trainer.predict.models import load_model
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .conftest import NAMES


def export(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_the_folder_is_yolov5s(detector: DetectorWeights, tmp_path: Path) -> None:
    folder = tmp_path / "best_openvino_model"
    write_openvino(detector, folder, OpenVinoOptions(image_size=96))
    assert {path.name for path in folder.iterdir()} == {"best.xml", "best.bin", "best.yaml"}
    said = yaml.safe_load((folder / "best.yaml").read_text())
    assert said == {"stride": 32, "names": dict(enumerate(NAMES)), "imgsz": [96, 96]}
    write_openvino(detector, folder, OpenVinoOptions())
    assert load_model(str(folder)).image_size == 64
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


@pytest.fixture(scope="module")
def twins(trained: Path, rectangles: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> list[Twin]:
    options = TwinOptions((ONNX, OPENVINO), int8=True, max_accuracy_loss=0.02)
    return export_twins(read_weights(trained), rectangles, options, tmp_path_factory.mktemp("twins"), lambda _: None)


def test_twins_are_measured_beside_their_original(twins: list[Twin]) -> None:
    kinds = [(twin.path.name, twin.format, twin.precision) for twin in twins]
    assert kinds == [
        ("best.onnx", "ONNX", "FP32"),
        ("best_openvino_model", "OpenVINO", "FP16"),
        ("best-int8_openvino_model", "OpenVINO", "INT8"),
    ]
    for twin in twins:
        assert twin.refused is None
        assert twin.path.exists()
        assert twin.original.map50 > 0.8, "it has learnt something"
        assert twin.scores.map50 > twin.original.map50 - 0.02
        assert twin.scores.frames_per_second > 0
    assert twins[2].size < twins[1].size < twins[0].size


def test_a_twin_that_lost_too_much_is_refused_with_its_number(
    trained: Path, rectangles: PreparedDataset, tmp_path: Path
) -> None:
    # Calibrated on black pictures, eight bits have no room for what real ones make of it.
    black = tmp_path / "black"
    black.write_bytes(bytes(rectangles.train.cache.stat().st_size))
    dark = rectangles.model_copy(update={"train": rectangles.train.model_copy(update={"cache": black})})
    said: list[str] = []
    options = TwinOptions(int8=True, floats=False)
    (twin,) = export_twins(read_weights(trained), dark, options, tmp_path / "out", said.append)
    lost = twin.original.map50 - twin.scores.map50
    assert lost > 0.01
    assert twin.refused is not None
    assert twin.refused not in said
    assert f"a loss of {lost:.4f} where 0.01 is allowed." in twin.refused
    assert list((tmp_path / "out").iterdir()) == []
    assert replace(twin, refused=None) != twin


def test_the_command_writes_what_it_accepts_and_val_reads_it(
    trained: Path, rectangles: PreparedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    data = rectangles.train.cache.parent / "export"
    common = (trained, "--format", "openvino", "--int8", "--data", data)
    refused = export(*common, "--max-accuracy-loss", "-1")
    assert refused.exit_code == 64, refused.output
    assert re.search(r"mAP50 is [01]\.\d{4} and the original's [01]\.\d{4}, a loss of -?[01]\.\d{4}", refused.stderr)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    accepted = export(*common, "--max-accuracy-loss", "0.02")
    assert accepted.exit_code == 0, accepted.output
    assert accepted.stdout.startswith("best-int8_openvino_model (OpenVINO INT8), ")
    assert accepted.stdout.strip() not in accepted.stderr
    scored = CliRunner().invoke(main, ["val", "--weights", "best-int8_openvino_model", "--data", str(data), "--json"])
    assert scored.exit_code == 0, scored.output
    (score,) = re.findall(r"INT8\), .* MB: mAP50 ([\d.]+)", accepted.stdout)
    assert f'"mAP50": {score.rstrip("0")}' in scored.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "openvino", "--int8"], "--int8 needs --data"),
        (["--format", "onnx", "--int8"], "--int8 and --data are for --format openvino"),
        (["--format", "openvino", "--image-size", "100"], "not a multiple of the model's stride 32; take 128."),
    ],
)
def test_what_cannot_be_written_is_one_sentence(
    best: Path, arguments: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(best, *arguments)
    assert result.exit_code == 64, result.output
    assert sentence in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_other_files_is_left_alone(best: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    result = export(best, "--format", "openvino", "--output", tmp_path)
    assert result.exit_code == 64
    assert "holds other files than an export" in result.stderr
    assert (tmp_path / "notes.txt").read_text() == "mine"
