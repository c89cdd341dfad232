"""Only files of this project are read, and nothing of another one is ever executed."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

from masktrain_trainer.checkpoint.state_files import load_state, slim_model
from masktrain_trainer.config import Architecture, ModelSpec
from masktrain_trainer.errors import InvalidWeights, UnusableWeights
from masktrain_trainer.weights.load import fetch_weights, load_model_file, read_weights
from tests.stores.training_run import meta, state


class Executed:
    """Unpickling this would create a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.fixture
def best(tmp_path: Path) -> Path:
    path = tmp_path / "best.pt"
    torch.save(slim_model(state(10), meta(10)), path)
    return path


def test_a_model_file_holds_what_running_it_needs(best: Path) -> None:
    model = load_model_file(best)
    assert (model.architecture, model.names, model.image_size, model.step) == ("yolov5n", ["a", "b"], 64, 10)
    assert {name: str(tensor.dtype) for name, tensor in model.state_dict.items()} == {
        "weight": "torch.float16",
        "count": "torch.int64",
    }


def test_weights_that_are_no_numbers_are_refused_to_start_from(best: Path) -> None:
    document = torch.load(best, weights_only=True)
    document["state_dict"]["weight"][0] = torch.inf
    torch.save(document, best)
    with pytest.raises(UnusableWeights, match=r"holds NaN or infinity in weight: .* choose an earlier checkpoint\.$"):
        read_weights(best)


def test_a_pickle_is_refused_without_being_run(tmp_path: Path) -> None:
    trap, file = tmp_path / "trap", tmp_path / "yolov5s.pt"
    torch.save({"format": "masktrain-v1", "model": Executed(trap)}, file)
    with pytest.raises(ValueError, match="those are never executed"):
        load_model_file(file)
    file.write_bytes(pickle.dumps(Executed(trap)))
    with pytest.raises(ValueError, match="not a file that MaskTrain wrote"):
        load_model_file(file)
    assert not trap.exists()


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({}, "is not a best.pt of MaskTrain.$"),
        ([1], "is not a best.pt of MaskTrain"),
        ({"format": "masktrain-state-v1"}, "is a checkpoint of MaskTrain, not a best.pt of MaskTrain"),
        ({"format": "masktrain-v1"}, "it lacks architecture, names"),
    ],
)
def test_another_document_is_told_apart(tmp_path: Path, document: Any, sentence: str) -> None:
    torch.save(document, tmp_path / "file.pt")
    with pytest.raises(ValueError, match=sentence):
        load_model_file(tmp_path / "file.pt")


def test_a_model_of_a_later_version_is_named(best: Path) -> None:
    torch.save({**torch.load(best, weights_only=True), "architecture": "yolov9"}, best)
    with pytest.raises(ValueError, match="'yolov9', which this version does not know"):
        load_model_file(best)


@pytest.mark.parametrize("content", [b"", b"not a torch file", b"PK\x03\x04" + bytes(60), b"\x80\x05" + b"\xff" * 20])
def test_bytes_that_are_no_torch_file_give_one_sentence(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(ValueError, match="is not a file that MaskTrain wrote, or it is damaged"):
        load_state(tmp_path / "file.pt")


def test_a_file_cut_off_anywhere_gives_one_sentence(best: Path) -> None:
    content = best.read_bytes()
    for length in range(0, len(content), 97):
        best.write_bytes(content[:length])
        with pytest.raises(ValueError, match="damaged"):
            load_model_file(best)


def test_an_absent_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"absent\.pt does not exist"):
        load_state(tmp_path / "absent.pt")


def test_weights_come_by_uri(best: Path, tmp_path: Path) -> None:
    spec = ModelSpec(architecture=Architecture.YOLOV5N, weights=best.as_uri())
    model = fetch_weights(spec, None, None, tmp_path / "weights.pt")
    assert (model.names, sorted(model.state_dict)) == (["a", "b"], ["count", "weight"])


def test_weights_of_another_size_name_both(best: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidWeights, match=r"holds a yolov5n, but model\.architecture is yolov5s; set"):
        fetch_weights(ModelSpec(weights=best.as_uri()), None, None, tmp_path / "weights.pt")


def test_unusable_weights_name_their_uri(best: Path, tmp_path: Path) -> None:
    local = tmp_path / "weights.pt"
    missing = ModelSpec(weights=f"{best.as_uri()}.old")
    with pytest.raises(InvalidWeights, match=r"best\.pt\.old does not exist; upload it, or correct model\.weights"):
        fetch_weights(missing, None, None, local)
    with pytest.raises(InvalidWeights, match=f"but model.sha256 asks for {'0' * 64}; it was replaced or damaged"):
        fetch_weights(ModelSpec(weights=best.as_uri(), sha256="0" * 64), None, None, local)
    best.write_bytes(b"something else")
    with pytest.raises(InvalidWeights, match=f"^{best.as_uri()} is not a file that torch.save writes"):
        fetch_weights(ModelSpec(weights=best.as_uri()), None, None, local)
