"""A training that was stopped in the middle of an epoch ends with the numbers of one that never was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from masktrain_trainer.checkpoint.snapshot import read_snapshot
from masktrain_trainer.checkpoint.spool import Spool
from masktrain_trainer.config import CONFIG_VARIABLE
from masktrain_trainer.data import prepare
from tests.ddp.resume_program import CONFIG
from tests.ddp.tiny_dataset import write_dataset
from tests.ddp.torchrun import torchrun


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    archive = write_dataset(folder / "tiny.zip", training=20)
    config = {**CONFIG, "dataset": {"uri": f"file://{archive}"}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, json.dumps(config))
        assert prepare.main(["--output", str(folder / "data"), "--result", str(folder / "prepare.json")]) == 0
    torchrun("tests.ddp.resume_program", str(folder / "data"), str(folder))
    return folder


def last_state(folder: Path) -> dict[str, Any]:
    """The newest snapshot that the training handed over."""
    return read_snapshot(Spool(folder / "spool").waiting()[-1])[0]


def test_the_stop_came_in_the_middle_of_an_epoch(output: Path) -> None:
    assert (output / "step").read_text() == "2"


def test_results_are_the_same_line_for_line(output: Path) -> None:
    whole, resumed = (output / name / "artifacts" / "results.csv" for name in ("whole", "resumed"))
    assert resumed.read_text() == whole.read_text()
    assert len(whole.read_text().splitlines()) == 3


@pytest.mark.parametrize("part", ["model", "ema"])
def test_weights_and_their_average_are_the_same_bit_for_bit(output: Path, part: str) -> None:
    whole, resumed = (last_state(output / name)[part] for name in ("whole", "resumed"))
    whole, resumed = (state.get("state_dict", state) for state in (whole, resumed))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
