"""`masktrain export`: a file, or one sentence and exit code 64."""

import importlib.util
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from masktrain_trainer.cli.main import main
from masktrain_trainer.weights.torch_file import read_torch_file
from masktrain_trainer.weights.yolov5 import read_yolov5


def export(*arguments: object) -> Result:
    return CliRunner().invoke(main, ["export", *map(str, arguments)])


def test_the_file_is_named_after_the_weights(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = export(best, "--format", "yolov5")
    assert (result.exit_code, result.output) == (0, "best-yolov5.pt: yolov5n, 3 classes, float16, for YOLOv5 v7.0\n")
    assert [path.name for path in tmp_path.iterdir()] == ["best-yolov5.pt"]


def test_a_store_is_read_and_a_folder_is_made(best: Path, tmp_path: Path) -> None:
    output = tmp_path / "new folder" / "theirs.pt"
    assert export(best.as_uri(), "--format", "yolov5", "--output", output).exit_code == 0
    assert read_yolov5(read_torch_file(output)).weights.architecture == "yolov5n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--format", "coreml"], "--format coreml is not known; take one of yolov5, onnx, openvino."),
        (["--format", "onnx", "--image-size", "100"], "is not a multiple of the model's stride 32; take 128."),
        (["--format", "yolov5", "--image-size", "64"], "leave --image-size and --dynamic out."),
        (["--format", "yolov5", "--dynamic"], "leave --image-size and --dynamic out."),
        (["--format", "onnx", "--output", "."], "give the name of another file."),
    ],
)
def test_what_cannot_be_written_is_one_sentence(best: Path, arguments: list[str], sentence: str) -> None:
    refused(export(best, *arguments), sentence)


def test_the_weights_are_not_overwritten(best: Path) -> None:
    refused(export(best, "--format", "yolov5", "--output", best), "the weights themselves")


def test_what_is_no_best_pt_is_one_sentence(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "other.pt")
    refused(
        export(tmp_path / "other.pt", "--format", "onnx"), "other.pt holds no model; give a best.pt, or a .pt of YOLOv5"
    )
    refused(export(tmp_path / "none.pt", "--format", "onnx"), "none.pt do not exist.")


def test_missing_packages_are_named_with_their_extra(best: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec

    def without_onnx(name: str) -> object:
        return None if name == "onnx" else found(name)

    monkeypatch.setattr("masktrain_trainer.export.onnx.find_spec", without_onnx)
    sentence = "--format onnx needs onnx; install with: pip install 'masktrain[trainer,export]'."
    refused(export(best, "--format", "onnx"), sentence)


def test_a_failed_export_leaves_the_last_one(best: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "theirs.pt"
    output.write_text("the last one")

    def fill_the_disk(document: object, path: Path) -> None:
        path.write_text("half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("torch.save", fill_the_disk)
    assert export(best, "--format", "yolov5", "--output", output).exit_code == 1
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("theirs.pt", "the last one")]


def refused(result: Result, sentence: str) -> None:
    assert result.exit_code == 64, result.output
    assert result.stderr.startswith("masktrain export: ")
    assert sentence in result.stderr
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
