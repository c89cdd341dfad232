"""A pod whose shared memory is too small for checkpoints says so before it trains."""

import logging
from pathlib import Path

import pytest

from masktrain_trainer.checkpoint.snapshot import write_snapshot
from masktrain_trainer.checkpoint.spool import SnapshotMeta
from masktrain_trainer.config import FailureReason, Optimizer
from masktrain_trainer.errors import UserError
from masktrain_trainer.train import checkpoints
from masktrain_trainer.train.checkpoints import free_bytes, require_shared_memory, snapshot_bytes
from masktrain_trainer.train.state import BestModel, capture_state, half_precision_copy
from tests.unit.trainer.train.contexts import context, state

MEBIBYTE = 1 << 20


def test_the_size_of_a_snapshot_is_known_beforehand(tmp_path: Path) -> None:
    given, trained = context(tmp_path), state()
    expected = snapshot_bytes(trained, Optimizer.SGD)
    for parameter in trained.model.parameters():
        parameter.grad = parameter.detach().clone()
    trained.optimizer.step()
    trained.best = BestModel(0, 0.5, half_precision_copy(trained.model))
    document = capture_state(trained, given.ranks, given.config, given.prepared)
    write_snapshot(given.spool, document, SnapshotMeta(epoch=0, step=1, fitness=None, is_best=False, reason="epoch"))
    (written,) = given.spool.iterdir()
    assert written.stat().st_size <= expected
    assert written.stat().st_size > 0.9 * expected


def test_adam_keeps_two_moments() -> None:
    trained = state()
    weights = sum(parameter.nbytes for parameter in trained.model.parameters())
    assert snapshot_bytes(trained, Optimizer.ADAMW) - snapshot_bytes(trained, Optimizer.SGD) == weights


def test_room_is_looked_for_where_the_spool_will_be(tmp_path: Path) -> None:
    assert free_bytes(tmp_path / "not" / "there" / "yet") == free_bytes(tmp_path)


@pytest.mark.parametrize("free", [0, 10 * MEBIBYTE])
def test_no_room_for_a_checkpoint_is_the_users_error(
    free: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(checkpoints, "free_bytes", lambda _: free)
    with pytest.raises(UserError, match=f"has {free // MEBIBYTE} MiB free, but 2 checkpoints of 25 MiB") as caught:
        require_shared_memory(context(tmp_path), state())
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION
    assert str(tmp_path / "shm") in str(caught.value)
    assert str(caught.value).endswith("set compute.sharedMemory to 256Mi or more.")


@pytest.mark.parametrize(("free", "warnings"), [(40, 1), (1000, 0)])
def test_room_for_one_checkpoint_is_a_warning(
    free: int, warnings: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(checkpoints, "free_bytes", lambda _: free * MEBIBYTE)
    with caplog.at_level(logging.WARNING):
        require_shared_memory(context(tmp_path), state())
    assert len(caplog.records) == warnings
