"""One rank of a gang under test: the real worker, with a digest of every optimizer step and an event at one of them."""

import hashlib
import itertools
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, auto
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from masktrain_trainer.data.loader import Batch
from masktrain_trainer.run_directory import RunDirectory
from masktrain_trainer.train import gpu_memory, worker
from masktrain_trainer.train.checkpoints import CheckpointClock
from masktrain_trainer.train.state import TrainingState
from masktrain_trainer.train.step import TrainStep

CHECKPOINT_STEPS = 3
"""A checkpoint every so many steps instead of seconds, so that a test does not depend on the machine's speed."""


class Happening(StrEnum):
    STOP = auto()
    """What a supervisor does on SIGTERM: every rank is to save and leave."""
    KILL = auto()
    KILL_BEFORE_UPDATE = auto()
    """Gradients are summed over the ranks, weights not yet changed."""
    NOT_A_NUMBER = auto()
    OUT_OF_MEMORY = auto()


@dataclass(frozen=True)
class Event:
    """At optimizer step `step`, counted from 1, on rank `rank`."""

    step: int
    happening: Happening
    rank: int = 0


@dataclass(frozen=True)
class RankOrder:
    rank: int
    ranks: int
    port: int
    folder: Path
    data: Path
    config: str
    event: Event | None


def run_rank(order: RankOrder) -> None:
    """The whole life of a process."""
    _redirect(order.folder / f"log-{order.rank}")
    environment: dict[str, str | int] = {"RANK": order.rank, "LOCAL_RANK": order.rank, "WORLD_SIZE": order.ranks}
    environment |= {"LOCAL_WORLD_SIZE": order.ranks, "MASTER_PORT": order.port, "MASTER_ADDR": "127.0.0.1"}
    environment |= {"GLOO_SOCKET_IFNAME": "lo", "MASKTRAIN_DEVICE": "cpu", "MASKTRAIN_CONFIG": order.config}
    os.environ.update({name: str(value) for name, value in environment.items()})
    torch.set_num_threads(1)
    _Tracer(order).install()
    paths = {"run-directory": order.folder / "run", "data": order.data, "spool": order.folder / "spool"}
    sys.argv = ["worker", *(word for name, path in paths.items() for word in (f"--{name}", str(path)))]
    worker.main()


class _Tracer:
    def __init__(self, order: RankOrder) -> None:
        self._order = order
        self._event = order.event if order.event and order.event.rank == order.rank else None
        self._file = (order.folder / f"trace-{order.rank}").open("w")

    def install(self) -> None:
        backward, step = TrainStep.backward, TrainStep.step
        tracer = self

        def traced_backward(self: TrainStep, batch: Batch, **options: Any) -> Tensor:
            tracer.before_batch(self._state)
            return backward(self, batch, **options)

        def traced_step(self: TrainStep) -> None:
            tracer.before_step(self._state)
            step(self)
            tracer.after_step(self._state)

        patch.object(TrainStep, "backward", traced_backward).start()
        patch.object(TrainStep, "step", traced_step).start()
        calls = itertools.count(1)
        patch.object(CheckpointClock, "due", lambda _: next(calls) % CHECKPOINT_STEPS == 0).start()
        patch.object(gpu_memory, "_gpu", lambda _: "a small GPU").start()

    def before_batch(self, state: TrainingState) -> None:
        if self._is_now(state, Happening.NOT_A_NUMBER):
            with torch.no_grad():
                next(state.model.parameters()).fill_(torch.nan)
        if self._is_now(state, Happening.OUT_OF_MEMORY):
            raise torch.OutOfMemoryError("CUDA out of memory.")

    def before_step(self, state: TrainingState) -> None:
        if self._is_now(state, Happening.KILL_BEFORE_UPDATE):
            os.kill(os.getpid(), signal.SIGKILL)

    def after_step(self, state: TrainingState) -> None:
        self._file.write(f"{state.position.step + 1} {self._digest(state)}\n")
        self._file.flush()
        if self._is_now(state, Happening.KILL):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._is_now(state, Happening.STOP):
            RunDirectory(self._order.folder / "run").stop.touch()

    def _is_now(self, state: TrainingState, happening: Happening) -> bool:
        event = self._event
        return event is not None and event.happening is happening and event.step == state.position.step + 1

    def _digest(self, state: TrainingState) -> str:
        """Batch statistics of other ranks than the first are read by nobody, and the average is kept there only."""
        tensors: list[Tensor] = list(state.model.parameters())
        moments = (entry.values() for entry in state.optimizer.state.values())
        tensors += [value for values in moments for value in values if isinstance(value, Tensor)]
        if self._order.rank == 0:
            tensors += [*state.model.buffers(), *state.ema.module.state_dict().values()]
        return digest([*tensors, state.loss_sums_3])


def digest(tensors: Iterable[Tensor]) -> str:
    found = hashlib.sha256()
    for tensor in tensors:
        found.update(tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _redirect(path: Path) -> None:
    with path.open("w") as log:
        os.dup2(log.fileno(), sys.stdout.fileno())
        os.dup2(log.fileno(), sys.stderr.fileno())
