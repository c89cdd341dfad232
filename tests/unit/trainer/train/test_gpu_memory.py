"""Which batch a run uses, and what a training says when a GPU's memory is too small for it."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from masktrain_trainer.config import FailureReason, Outcome, TrainingSpec
from masktrain_trainer.errors import UserError
from masktrain_trainer.run_directory import read_document
from masktrain_trainer.train import gpu_memory, worker
from masktrain_trainer.train.gpu_memory import (
    choose_batch_size,
    explain_out_of_memory,
    largest_batch,
    largest_side,
    largest_that_fits,
    out_of_memory_sentence,
    try_batch,
)
from masktrain_trainer.train.state import STATE_FORMAT
from tests.unit.trainer.train.contexts import context, state

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


GPU = "Tesla V100 (15.8 GiB)"


class SmallGPU:
    """Holds `images` and no more."""

    def __init__(self, images: int) -> None:
        self.images = images
        self.tried: list[int] = []

    def __call__(self, images: int) -> None:
        self.tried.append(images)
        if images > self.images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


@pytest.mark.parametrize(
    ("holds", "below", "expected"),
    [(20, 64, 18), (9, 16, 8), (1, 16, 1), (0, 16, 0), (63, 64, 56), (100, 2, 1), (0, 1, 0)],
)
def test_the_batch_that_fits_is_found_by_halving(holds: int, below: int, expected: int) -> None:
    gpu = SmallGPU(holds)
    assert largest_that_fits(gpu, below) == expected
    assert len(gpu.tried) <= 7
    assert all(0 < images < below for images in gpu.tried)


@pytest.mark.parametrize(("trials", "expected"), [(0, None), (1, None), (2, 14), (3, 14), (4, 18), (9, 18)])
def test_trials_end_in_time_with_what_is_known(trials: int, expected: int | None) -> None:
    """Of 64 on a GPU for 20: 32 do not fit, 16 do, 24 do not, 20 do."""
    gpu = SmallGPU(20)
    fits = largest_that_fits(gpu, 64, lambda: len(gpu.tried) < trials)
    assert len(gpu.tried) <= trials
    assert fits == expected


def test_trials_take_a_part_of_the_time_after_which_others_count_as_hung(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    given, now, tried = context(tmp_path, {"batchSize": 64}), [0.0], []

    def slow(_: object, __: object, images: int) -> None:
        tried.append(images)
        now[0] += 6.0

    monkeypatch.setattr(gpu_memory, "try_batch", slow)
    monkeypatch.setattr(gpu_memory, "_gpu", lambda _: GPU)
    explain_out_of_memory(given, state(), torch.OutOfMemoryError("full"), clock=lambda: now[0])
    assert now[0] <= given.config.hang_timeout_seconds / 2
    assert tried == [32, 48, 56]


@pytest.mark.parametrize(
    ("training", "ranks", "fits", "expected"),
    [
        (
            {"batchSize": 64, "imageSize": 1280},
            2,
            9,
            f"The memory of {GPU} is too small for 32 images of 1280 px on each of 2 rank(s), training.batchSize 64: ",
        ),
        (
            {"batchSize": 4},
            4,
            0,
            "not even one fits, so lower training.imageSize or take a smaller model.architecture.",
        ),
        ({"batchSize": 24, "syncBatchNorm": True}, 4, None, "try half of it, training.batchSize 12, or lower "),
    ],
)
def test_the_sentence(training: dict[str, Any], ranks: int, fits: int | None, expected: str, tmp_path: Path) -> None:
    given = context(tmp_path, training, ranks)
    assert expected in out_of_memory_sentence(given, given.training.batch_size // ranks, fits, GPU)


def test_a_trial_leaves_no_trace(tmp_path: Path) -> None:
    trained = state()
    try_batch(context(tmp_path), trained, images=1)
    assert all(parameter.grad is None for parameter in trained.model.parameters())
    assert not trained.optimizer.state


def test_what_the_failed_step_held_is_freed_before_the_trials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    trained, gpu = state(), SmallGPU(5)
    for parameter in trained.model.parameters():
        parameter.grad = torch.zeros_like(parameter)

    def trial(_: object, tried: Any, images: int) -> None:
        assert all(parameter.grad is None for parameter in tried.model.parameters())
        gpu(images)

    monkeypatch.setattr(gpu_memory, "try_batch", trial)
    monkeypatch.setattr(gpu_memory, "_gpu", lambda _: GPU)
    explained = explain_out_of_memory(context(tmp_path, {"batchSize": 16}), trained, torch.OutOfMemoryError("full"))
    assert "4 fit on each, so set training.batchSize to 4" in explained


def test_the_rank_says_so_and_leaves_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without waiting for ranks that wait for it."""

    class FullGPU:
        def __init__(self, *_: object) -> None:
            raise torch.OutOfMemoryError("full")

    def leave(code: int) -> None:
        raise SystemExit(code)

    given = context(tmp_path)

    def explain(*_: object) -> str:
        """The other ranks stand still while it tries: it may be ended at any time."""
        said = read_document(given.run.outcome(0), Outcome)
        assert said is not None
        assert "try half of it, training.batchSize 8" in said.message
        return "Too small."

    monkeypatch.setattr(worker, "Training", FullGPU)
    monkeypatch.setattr(gpu_memory, "_gpu", lambda _: GPU)
    monkeypatch.setattr(worker, "explain_out_of_memory", explain)
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as left:
        worker._run(given, state(), object())  # type: ignore[arg-type]
    assert left.value.code == 1
    outcome = read_document(given.run.outcome(0), Outcome)
    assert outcome == Outcome.user_error("InvalidConfiguration", message="Too small.")
