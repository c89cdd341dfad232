"""What a rank leaves behind at its end, however slow or broken the end of its process group is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from masktrain_trainer.config import CONFIG_VARIABLE, Outcome
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.run_directory import RunDirectory, read_document
from masktrain_trainer.train import distributed, worker
from masktrain_trainer.train.distributed import Ranks

from .contexts import context

ENDED = Outcome.complete("Trained.")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunDirectory:
    given = context(tmp_path)
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv(CONFIG_VARIABLE, given.config.to_json())
    paths = {"run-directory": given.run.root, "data": tmp_path, "spool": tmp_path}
    monkeypatch.setattr(
        sys, "argv", ["worker", *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]
    )
    monkeypatch.setattr(worker, "register_stack_dump", lambda *_: None)
    monkeypatch.setattr(worker, "_set_up_logging", lambda **_: None)
    return given.run


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ENDED),
        (InvalidConfiguration("Too many."), Outcome.user_error("InvalidConfiguration", "Too many.")),
    ],
)
def test_the_outcome_is_there_before_the_group_is_left(
    error: Exception | None, expected: Outcome, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Outcome | None] = []

    @contextmanager
    def groups(*_: object) -> Iterator[Ranks]:
        yield Ranks(0, 0, 1, 1, torch.device("cpu"))
        found.append(read_document(run.outcome(0), Outcome))
        raise RuntimeError("NCCL waits for nobody")

    def end(*_: object) -> Outcome:
        if error:
            raise error
        return ENDED

    monkeypatch.setattr(worker, "process_groups", groups)
    monkeypatch.setattr(worker, "choose_batch_size", end)
    monkeypatch.setattr(worker, "load_prepared", lambda _: None)
    monkeypatch.setattr(worker, "_open_loader", open_nothing)
    for name in ("initial_state", "require_shared_memory", "_log_setup"):
        monkeypatch.setattr(worker, name, lambda *_: Ended())
    monkeypatch.setattr(worker, "_run", lambda *_: ENDED)
    with pytest.raises(RuntimeError, match="NCCL"):
        worker.main()
    assert found == [expected]


class Ended:
    ended = True


@contextmanager
def open_nothing(_: object) -> Iterator[None]:
    yield None


def test_a_rank_that_fails_does_not_wait_for_the_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.setenv("MASKTRAIN_DEVICE", "cpu")
    left: list[str] = []
    destroy = torch.distributed.destroy_process_group
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: left.append("destroyed"))
    try:
        with (
            pytest.raises(ZeroDivisionError),
            distributed.process_groups(distributed.START_TIMEOUT, tmp_path / "store"),
        ):
            raise ZeroDivisionError
    finally:
        destroy()
    assert left == []
