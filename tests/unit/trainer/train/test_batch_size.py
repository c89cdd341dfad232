"""Which batch a run uses."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from masktrain_trainer.config import FailureReason, TrainingSpec
from masktrain_trainer.errors import UserError
from masktrain_trainer.train.gpu_memory import choose_batch_size, largest_batch, largest_side
from masktrain_trainer.train.state import STATE_FORMAT

from .contexts import context

MIB = 1 << 20


def test_the_given_batch_stays(tmp_path: Path) -> None:
    given = context(tmp_path, {"batchSize": 12}, world_size=3)
    assert choose_batch_size(given).training.batch_size == 12


def test_a_batch_that_cannot_be_dealt_evenly_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"batchSize 16 .* multiple of their number, 3") as caught:
        choose_batch_size(context(tmp_path, {"batchSize": 16}, world_size=3))
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION


@pytest.mark.parametrize(("given", "settled"), [(16, 16), (1, 1)])
def test_on_cpus_there_is_nothing_to_measure(tmp_path: Path, given: int, settled: int) -> None:
    found = choose_batch_size(context(tmp_path, {"batchSize": given, "autoBatch": True}))
    assert found.training.batch_size == settled
    assert found.config.training.resolved()["batchSize"] == settled


def test_a_resumed_run_goes_on_with_the_batch_it_began_with(tmp_path: Path) -> None:
    """Its place in the epoch is counted in such batches, whatever fits into the memory of this GPU."""
    given = context(tmp_path, {"batchSize": 16, "autoBatch": True})
    torch.save({"format": STATE_FORMAT, "training": {"batchSize": 42}}, tmp_path / "state.pt")
    given.run.restore_result.write_text(json.dumps({"run": 1, "file": str(tmp_path / "state.pt")}))
    assert choose_batch_size(given).training.batch_size == 42
    assert choose_batch_size(replace(given)).training.batch_size == 42


@pytest.mark.parametrize(
    ("measured", "budget", "expected"),
    [
        ([(1, 150 * MIB), (2, 200 * MIB), (4, 300 * MIB)], 1100 * MIB, 20),
        ([(1, 150 * MIB), (2, 200 * MIB)], 120 * MIB, 1),
        ([(1, 150 * MIB)], 1100 * MIB, 1),
        ([], 1100 * MIB, 1),
        ([(1, 200 * MIB), (2, 200 * MIB), (4, 200 * MIB)], 1100 * MIB, 4),
    ],
)
def test_memory_grows_with_the_batch(measured: list[tuple[int, int]], budget: float, expected: int) -> None:
    assert largest_batch(measured, budget) == expected


def test_the_largest_size_counts() -> None:
    assert largest_side(TrainingSpec(image_size=640), 32) == 640
    assert largest_side(TrainingSpec(image_size=640, multi_scale=True), 32) == 960
