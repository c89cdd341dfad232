"""Frozen layers, batch norms over all ranks, compiled models."""

import copy

import pytest
import torch

from masktrain_trainer.config import Architecture, FailureReason, Hyperparameters
from masktrain_trainer.data.loader import Batch
from masktrain_trainer.errors import UserError
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.model.precision import build_scaler
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.initialise import compile_model, freeze, synchronise_batch_norms
from masktrain_trainer.train.optimizer import ModelEma, build_optimizer
from masktrain_trainer.train.state import EarlyStopping, TrainingState
from masktrain_trainer.train.step import TrainStep

ALONE = Ranks(0, 0, 1, 1, torch.device("cpu"))
TWO_GPUS = Ranks(0, 0, 2, 2, torch.device("cuda", 0))


@pytest.fixture
def model() -> Yolo:
    torch.manual_seed(0)
    return build_yolo(Architecture.YOLOV5N, 2)


def step_once(model: Yolo) -> None:
    h = Hyperparameters()
    optimizer = build_optimizer(model, h, 64)
    scaler = build_scaler(torch.device("cpu"), torch.float32)
    state = TrainingState(model, ModelEma(model, 0.9, 10), optimizer, scaler, EarlyStopping(0), torch.zeros(3))
    step = TrainStep(ALONE, torch.float32, state, DetectionLoss(model.anchors, h, image_size=64, num_classes=2))
    images = torch.randint(0, 256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    targets_M6 = torch.tensor([[0, 0, 0.5, 0.5, 0.4, 0.4], [1, 1, 0.3, 0.6, 0.5, 0.3]])
    step.backward(Batch(images, targets_M6, torch.arange(2)), synchronise=True)
    step.step()


def test_frozen_layers_keep_their_weights_and_the_others_learn(model: Yolo) -> None:
    freeze(model, 10)
    before = copy.deepcopy(model.state_dict())
    step_once(model)
    changed = {
        int(name.split(".")[1]) for name, tensor in model.named_parameters() if not torch.equal(tensor, before[name])
    }
    assert changed == {10, 13, 14, 17, 18, 20, 21, 23, 24}
    assert not torch.equal(model.state_dict()["model.0.bn.running_mean"], before["model.0.bn.running_mean"])


def test_freezing_everything_is_the_users_error(model: Yolo) -> None:
    freeze(model, 24)
    assert next(name for name, tensor in model.named_parameters() if tensor.requires_grad) == "model.24.m.0.weight"
    with pytest.raises(UserError, match="freeze is 25, but this architecture has 24 layers before its head") as caught:
        freeze(model, 25)
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION


def test_synchronised_batch_norms_keep_names_and_parameters(model: Yolo) -> None:
    names, parameters = list(model.state_dict()), list(model.parameters())
    average = ModelEma(model, 0.9, 10)
    synchronise_batch_norms(model, TWO_GPUS)
    kinds = {type(module) for module in model.modules()}
    assert torch.nn.SyncBatchNorm in kinds
    assert torch.nn.BatchNorm2d not in kinds
    assert list(model.state_dict()) == names
    assert all(one is other for one, other in zip(model.parameters(), parameters, strict=True))
    assert [len(group["params"]) for group in build_optimizer(model, Hyperparameters(), 64).param_groups] == [
        60,
        60,
        57,
    ]
    average.update(model)


@pytest.mark.parametrize("ranks", [ALONE, Ranks(0, 0, 2, 2, torch.device("cpu"))])
def test_on_cpus_every_rank_normalises_for_itself(model: Yolo, ranks: Ranks) -> None:
    synchronise_batch_norms(model, ranks)
    assert not any(isinstance(module, torch.nn.SyncBatchNorm) for module in model.modules())


def test_a_compiled_model_keeps_its_names_and_can_be_copied(model: Yolo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "/usr/bin/g++")
    names = list(model.state_dict())
    compile_model(model, torch.device("cpu"))
    assert list(model.state_dict()) == names
    assert isinstance(copy.deepcopy(model), Yolo)


def test_no_compiler_is_one_sentence(model: Yolo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(UserError, match="needs a C\\+\\+ compiler in the trainer's image"):
        compile_model(model, torch.device("cpu"))
