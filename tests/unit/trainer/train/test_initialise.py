"""Where a training starts, and that rank 0's answer is everybody's."""

import logging
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest
import torch

from masktrain_trainer.config import Architecture, FailureReason
from masktrain_trainer.errors import StoreDenied, UserError
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.run_directory import RestoreResult
from masktrain_trainer.train import initialise
from masktrain_trainer.train.devices import choose_device
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.initialise import decided_by_rank_0, initial_state, transfer
from tests.unit.trainer.weights import yolov5_files

from .contexts import context

ALONE = Ranks(0, 0, 1, 1, torch.device("cpu"))


def test_weights_with_other_classes_lose_only_the_head() -> None:
    torch.manual_seed(0)
    source, target = build_yolo(Architecture.YOLOV5N, 80), build_yolo(Architecture.YOLOV5N, 3)
    sentence = transfer(target, {name: tensor.half() for name, tensor in source.state_dict().items()})
    assert sentence == "343 of 349 tensors taken over; new head for 3 classes"
    assert torch.equal(
        target.state_dict()["model.0.conv.weight"], source.state_dict()["model.0.conv.weight"].half().float()
    )


def test_the_anchors_come_with_the_weights_as_in_yolov5_without_a_model_file() -> None:
    source, target = build_yolo(Architecture.YOLOV5N, 80), build_yolo(Architecture.YOLOV5N, 2)
    source.anchors.mul_(2)
    transfer(target, source.state_dict())
    assert torch.equal(target.anchors, source.anchors)


def test_a_resumed_training_fetches_no_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = context(tmp_path, {"autoAnchor": False}, weights="official")
    wanted.run.restore_result.write_text(RestoreResult(run=1, file="last.pt").to_json())
    monkeypatch.setattr(initialise, "load_state", lambda _: {"found": True})
    monkeypatch.setattr(initialise, "fetch_weights", lambda *_: pytest.fail("They come from the checkpoint."))
    assert initialise._find_start(wanted).checkpoint == {"found": True}


def test_the_sentence_tells_of_a_new_head_only_if_there_is_one() -> None:
    source = build_yolo(Architecture.YOLOV5N, 1).state_dict()
    assert transfer(build_yolo(Architecture.YOLOV5N, 1), source) == "349 of 349 tensors taken over"
    other = build_yolo(Architecture.YOLOV5N, 2).state_dict()
    assert transfer(build_yolo(Architecture.YOLOV5N, 1), other) == "343 of 349 tensors taken over; new head for 1 class"


def test_a_training_starts_from_a_file_of_yolov5_by_way_of_the_workspace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = yolov5_files.source()
    path = yolov5_files.save(yolov5_files.stripped(yolov5_files.model(trained)), tmp_path / "yolov5n.pt")
    caplog.set_level(logging.INFO)
    wanted = context(tmp_path, {"autoAnchor": False}, weights=path.as_uri())
    monkeypatch.setattr(tempfile, "tempdir", "/nonexistent")
    state = initial_state(wanted)
    assert "343 of 349 tensors taken over; new head for 2 classes" in caplog.text
    name = "model.0.conv.weight"
    assert torch.allclose(state.model.state_dict()[name], trained.state_dict()[name])
    assert not list(wanted.run.root.glob("tmp*"))


def test_frozen_layers_are_not_the_optimizers(tmp_path: Path) -> None:
    state = initial_state(context(tmp_path, {"freeze": 10, "autoAnchor": False}))
    frozen = {id(weight) for layer in state.model.model[:10] for weight in layer.parameters()}
    trained = {id(weight) for group in state.optimizer.param_groups for weight in group["params"]}
    assert frozen
    assert not frozen & trained
    assert len(frozen | trained) == len(list(state.model.parameters()))


@pytest.mark.parametrize("wanted", [True, False])
def test_anchors_are_looked_at_before_a_new_training_unless_told_otherwise(
    tmp_path: Path, wanted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: list[Yolo] = []
    monkeypatch.setattr(initialise, "autoanchor", lambda model, *_: looked_at.append(model))
    state = initial_state(context(tmp_path, {"autoAnchor": wanted}))
    assert looked_at == ([state.model] if wanted else [])


def test_weights_that_fit_nowhere_are_the_users_error() -> None:
    with pytest.raises(UserError, match=r"model\.architecture") as caught:
        transfer(build_yolo(Architecture.YOLOV5N, 3), {"layer": torch.zeros(3)})
    assert caught.value.reason is FailureReason.INVALID_WEIGHTS


def test_an_error_of_rank_0_is_an_error_of_all() -> None:
    def fail() -> NoReturn:
        raise StoreDenied("The key is wrong.")

    with pytest.raises(UserError, match="The key is wrong") as caught:
        decided_by_rank_0(ALONE, fail)
    assert caught.value.reason is FailureReason.STORE_DENIED


def test_too_few_gpus_are_the_users_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.delenv("MASKTRAIN_DEVICE", raising=False)
    with pytest.raises(UserError, match=r"1 usable CUDA device\(s\) for 2 rank\(s\)"):
        choose_device(0, 2)
    monkeypatch.setenv("MASKTRAIN_DEVICE", "cpu")
    assert choose_device(0, 2) == torch.device("cpu")
