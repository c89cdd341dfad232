"""Files for YOLOv5: read by our reader of such files, and by torch.load with classes of YOLOv5's names."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from masktrain_trainer.config import Architecture
from masktrain_trainer.export.yolov5 import write_yolov5
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.torch_file import read_torch_file
from masktrain_trainer.weights.yolov5 import DetectorWeights, read_yolov5

from .conftest import NAMES, write_best

CLASSES = {"models.yolo": ["DetectionModel", "Detect"], "models.common": ["Conv", "Bottleneck", "C3", "SPPF", "Concat"]}


@pytest.fixture
def exported(detector: DetectorWeights, tmp_path: Path) -> Path:
    write_yolov5(detector, tmp_path / "exported.pt")
    return tmp_path / "exported.pt"


@pytest.fixture
def document(exported: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an unrestricted load makes of it where empty classes have YOLOv5's names."""
    monkeypatch.setitem(sys.modules, "models", ModuleType("models"))
    for module, names in CLASSES.items():
        namespace = ModuleType(module)
        for name in names:
            setattr(namespace, name, type(name, (nn.Module,), {"__module__": module}))
        monkeypatch.setitem(sys.modules, module, namespace)
    loaded = torch.load(exported, weights_only=False)
    assert isinstance(loaded, dict)
    return loaded


@pytest.mark.parametrize("architecture", [Architecture.YOLOV5N, Architecture.YOLOV5N6])
def test_our_reader_gets_equal_tensors_back(architecture: Architecture, tmp_path: Path) -> None:
    file = read_weights(write_best(tmp_path / "best.pt", architecture))
    write_yolov5(file, tmp_path / "exported.pt")
    found = read_yolov5(read_torch_file(tmp_path / "exported.pt"))
    assert (found.weights.architecture, found.weights.names) == (architecture, NAMES)
    assert (found.epoch, found.averaged) == (None, False)
    assert found.weights.state_dict.keys() == file.state_dict.keys()
    for name, tensor in file.state_dict.items():
        assert torch.equal(found.weights.state_dict[name].to(tensor.dtype), tensor), name


def test_a_module_tree_with_an_equal_state_dict_is_rebuilt(document: dict[str, Any], detector: DetectorWeights) -> None:
    rebuilt = document["model"].state_dict()
    assert list(rebuilt) == list(detector.state_dict)
    for name, tensor in detector.state_dict.items():
        assert rebuilt[name].dtype == tensor.dtype, name
        assert torch.equal(rebuilt[name], tensor), name


def test_the_file_is_a_finished_one(document: dict[str, Any]) -> None:
    assert document.pop("epoch") == -1
    assert "T" in document.pop("date")
    assert isinstance(document.pop("model"), nn.Module)
    assert set(document) == {"best_fitness", "ema", "updates", "optimizer", "opt", "git"}
    assert set(document.values()) == {None}


def test_the_model_says_how_its_layers_are_connected(document: dict[str, Any]) -> None:
    model = document["model"]
    assert [layer.i for layer in model.model] == list(range(25))
    assert {layer.i: layer.f for layer in model.model if layer.f != -1} == {
        12: [-1, 6],
        16: [-1, 4],
        19: [-1, 14],
        22: [-1, 10],
        24: [17, 20, 23],
    }
    assert model.save == [4, 6, 10, 14, 17, 20, 23]
    assert model.model[11].type == "torch.nn.modules.upsampling.Upsample"
    assert sum(layer.np for layer in model.model) == 1_767_976
    assert model.names == dict(enumerate(NAMES))


def test_the_head_and_the_blocks_have_what_their_forward_needs(document: dict[str, Any]) -> None:
    model = document["model"]
    head = model.model[24]
    assert (head.nc, head.no, head.nl, head.na) == (3, 8, 3, 3)
    assert head.stride.tolist() == model.stride.tolist() == [8, 16, 32]
    assert head.anchors.shape == (3, 3, 2)
    assert len(head.grid) == len(head.anchor_grid) == 3
    assert isinstance(model.model[0].act, nn.SiLU)
    assert model.model[0].bn.eps == 1e-3
    assert model.model[2].m[0].add is True
    assert model.model[13].m[0].add is False
    assert model.model[12].d == 1


def test_the_model_is_described_as_in_yolov5s_model_files(document: dict[str, Any]) -> None:
    description = document["model"].yaml
    assert (description["nc"], description["depth_multiple"], description["width_multiple"]) == (3, 0.33, 0.25)
    assert (len(description["backbone"]), len(description["head"])) == (10, 15)
    assert description["backbone"][0] == [-1, 1, "Conv", [64, 6, 2, 2]]
    assert description["head"][-1] == [[17, 20, 23], 1, "Detect", ["nc", "anchors"]]
    assert description["anchors"][0] == pytest.approx([1.25 * side for side in (10, 13, 16, 30, 33, 23)], rel=1e-3)


def test_no_module_of_that_name_stays_and_one_that_was_there_does(
    detector: DetectorWeights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = ModuleType("models")
    monkeypatch.setitem(sys.modules, "models", own)
    write_yolov5(detector, tmp_path / "exported.pt")
    assert sys.modules["models"] is own
    assert not {"models.yolo", "models.common"} & sys.modules.keys()
