"""An untrained best.pt whose names and anchors are its own."""

from pathlib import Path

import pytest
import torch

from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.checkpoint.state_files import slim_model
from masktrain_trainer.config import Architecture
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.weights.load import read_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .trained import prepare_rectangles, write_trained

NAMES = ["mask", 'it\'s "off"', "no mask"]
IMAGE_SIZE = 64


def write_best(path: Path, architecture: Architecture = Architecture.YOLOV5N) -> Path:
    torch.manual_seed(0)
    model = build_yolo(architecture, len(NAMES))
    model.anchors.mul_(1.25)  # as if fitted to the data
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # a fresh one computes almost nothing
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.uniform_(-0.1, 0.1)
                module.running_var.uniform_(0.5, 1.5)
        detect = model.model[-1]
        assert isinstance(detect, Detect)
        for head in detect.m:
            assert isinstance(head, torch.nn.Conv2d)
            assert head.bias is not None
            head.bias.view(3, -1)[:, 4:] = 0  # unsure everywhere: some boxes pass any threshold, some do not
            head.weight.mul_(8)
    state = {
        "ema": {"state_dict": model.state_dict()},
        "model_info": {"architecture": architecture.value, "names": NAMES, "image_size": IMAGE_SIZE},
        "metrics": {},
        "training": {},
    }
    torch.save(slim_model(state, SnapshotMeta(epoch=3, step=9, fitness=0.5, is_best=True, reason="final")), path)
    return path


@pytest.fixture(scope="session")
def best(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    return write_best(tmp_path_factory.mktemp("weights") / "best.pt")


@pytest.fixture(scope="session")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepare_rectangles(tmp_path_factory.mktemp("rectangles"))


@pytest.fixture(scope="session")
def trained(rectangles: PreparedDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trained(tmp_path_factory.mktemp("trained") / "best.pt", rectangles)


@pytest.fixture(scope="session")
def detector(best: Path) -> DetectorWeights:
    return read_weights(best)
