"""What every part of a training needs: the context, which stays the same, and the state, which is checkpointed.

A checkpoint is taken only between optimizer steps, when no gradient is pending; a run that goes on from it continues
the same numbers. What differs between ranks (random generators, loss sums) is kept for each rank.
"""

import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp.grad_scaler import GradScaler

from masktrain_trainer.checkpoint.selection import surpasses
from masktrain_trainer.config import Hyperparameters, RunConfig, TrainingSpec
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.heartbeat import Heartbeat
from masktrain_trainer.model.yolo import Yolo
from masktrain_trainer.run_directory import RunDirectory

from .distributed import Ranks
from .optimizer import ModelEma


@dataclass(frozen=True)
class Context:
    """`format` is what forward passes compute in; `spool` is where checkpoints are handed over; `started` is monotonic
    seconds.
    """

    config: RunConfig
    prepared: PreparedDataset
    ranks: Ranks
    run: RunDirectory
    spool: Path
    heartbeat: Heartbeat
    format: torch.dtype
    started: float = field(default_factory=time.monotonic)

    @property
    def training(self) -> TrainingSpec:
        return self.config.training

    @property
    def hyperparameters(self) -> Hyperparameters:
        return self.config.training.hyperparameters


_NO_NUMBER = -1.0
"""Stands for a fitness that is none, and for none at all: below every fitness."""


class EarlyStopping:
    """Remembers the epoch whose weights are best.pt, and how long none has been better.

    Only a strictly higher fitness is better: a plateau counts as standing still. Without a fitness above zero nothing
    tells epochs apart, so the newest weights, which have learnt longest, take the place of those before. An epoch whose
    fitness is no number stands behind every other.
    """

    def __init__(self, patience: int) -> None:
        """patience: epochs without a better one until `should_stop`; 0 means never."""
        self.patience = patience
        self.best_epoch = 0
        self.best_fitness = _NO_NUMBER

    @property
    def has_fitness(self) -> bool:
        """Whether an epoch had a fitness above zero: until then there is none that a later one could fall short of."""
        return self.best_fitness > 0

    def record(self, epoch: int, fitness: float) -> bool:
        """Record an epoch's fitness; whether its weights are the ones to keep so far."""
        known = _NO_NUMBER if math.isnan(fitness) else fitness
        if not surpasses(known, self.best_fitness):
            return False
        self.best_epoch, self.best_fitness = epoch, known
        return True

    def counts_from(self, last_warmup_epoch: int) -> int:
        """The epoch after which patience counts: while learning rates still rise nobody expects a better one."""
        return max(self.best_epoch, last_warmup_epoch)

    def should_stop(self, epoch: int, last_warmup_epoch: int) -> bool:
        return self.patience > 0 and self.has_fitness and epoch - self.counts_from(last_warmup_epoch) >= self.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_fitness": self.best_fitness}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_epoch = int(state["best_epoch"])
        self.best_fitness = float(state["best_fitness"])


STATE_FORMAT = "masktrain-state-v1"


@dataclass
class Position:
    """How far training has come: `batch` batches of `epoch` are trained, `step` optimizer steps since the start."""

    epoch: int = 0
    batch: int = 0
    step: int = 0

    def next_epoch(self) -> None:
        self.epoch, self.batch = self.epoch + 1, 0


@dataclass
class BestModel:
    """The averaged weights that are best.pt so far (float16 on the CPU), for the last evaluation."""

    epoch: int
    fitness: float
    state_dict: dict[str, Tensor]


@dataclass
class TrainingState:
    """`loss_sums_3` sums box, objectness and class loss over this rank's batches of the epoch, on the device.

    `ended` is set once no epoch is left to train, by count or by early stopping.
    """

    model: Yolo
    ema: ModelEma
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    early_stopping: EarlyStopping
    loss_sums_3: Tensor
    position: Position = field(default_factory=Position)
    results_csv: str = ""
    metrics: dict[str, float] = field(default_factory=dict)
    class_map: list[float] = field(default_factory=list)
    """mAP50-95 of every class in the last validation; empty before the first."""
    best: BestModel | None = None
    stopped_early: bool = False
    ended: bool = False

    def is_finite(self) -> bool:
        """Whether the weights are numbers; waits for the device, so it is asked before a checkpoint only."""
        norms = torch._foreach_norm(list(self.model.parameters()))  # noqa: SLF001 - one kernel instead of hundreds
        return bool(torch.stack(norms).isfinite().all())


@dataclass(frozen=True)
class RankState:
    """What every rank has of its own."""

    cpu_generator: Tensor
    device_generator: Tensor | None
    loss_sums_3: Tensor

    @classmethod
    def capture(cls, ranks: Ranks, state: TrainingState) -> "RankState":
        on_gpu = ranks.device.type == "cuda"
        return cls(
            cpu_generator=torch.get_rng_state(),
            device_generator=torch.cuda.get_rng_state(ranks.device) if on_gpu else None,
            loss_sums_3=state.loss_sums_3.cpu(),
        )

    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def capture_state(state: TrainingState, ranks: Ranks, config: RunConfig, prepared: PreparedDataset) -> dict[str, Any]:
    """The document of a checkpoint, on rank 0; the other ranks contribute theirs and get an empty one.

    Its tensors are the live ones: the caller copies them before the next step.
    """
    per_rank = ranks.gather_to_leader(RankState.capture(ranks, state).to_dict())
    if not ranks.leads:
        return {}
    return {
        "format": STATE_FORMAT,
        "model": state.model.state_dict(),
        "ema": state.ema.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        # A resume of v7.0 forgets scaler, early stopping, generators and the place in the epoch: its curve bends there,
        # and nobody can tell that from a defect.
        "scaler": state.scaler.state_dict(),
        "early_stopping": state.early_stopping.state_dict(),
        "rng": per_rank,
        "epoch": state.position.epoch,
        "batch": state.position.batch,
        "step": state.position.step,
        "results_csv": state.results_csv,
        "metrics": state.metrics,
        "class_map": state.class_map,
        # With the weights: the last evaluation of a resumed run has no other copy at hand.
        "best": None if state.best is None else dict(vars(state.best)),
        "stopped_early": state.stopped_early,
        "ended": state.ended,
        "model_info": describe_model(config, prepared),
        # autoBatch takes the batch size of a resumed run from here.
        "training": config.training.resolved(),
    }


def describe_model(config: RunConfig, prepared: PreparedDataset) -> dict[str, Any]:
    return {
        "architecture": config.model.architecture.value,
        "names": list(prepared.names),
        "image_size": config.training.image_size,
    }


def restore_state(document: dict[str, Any], state: TrainingState, ranks: Ranks) -> None:
    """Put a checkpoint's document into a freshly built state, on every rank.

    With another number of ranks than before, the generators start anew and the epoch's loss sums go to rank 0: both
    change no weight.
    """
    state.model.load_state_dict(document["model"])
    state.ema.load_state_dict(document["ema"])
    state.optimizer.load_state_dict(document["optimizer"])
    _lay_out_like_weights(state.optimizer)
    state.scaler.load_state_dict(document["scaler"])
    state.early_stopping.load_state_dict(document["early_stopping"])
    state.position = Position(document["epoch"], document["batch"], document["step"])
    state.results_csv = document["results_csv"]
    state.metrics, state.class_map = document["metrics"], document.get("class_map", [])  # older checkpoints have none
    if ranks.leads and document["best"] is not None:  # elsewhere it would hold the whole document in memory
        state.best = BestModel(**document["best"])
    state.stopped_early, state.ended = document["stopped_early"], document["ended"]
    _keep_newest_without_fitness(state)
    _restore_rank(document["rng"], state, ranks)


def _keep_newest_without_fitness(state: TrainingState) -> None:
    """Versions before this one kept the first of the epochs without a fitness; of a training that goes on the next
    epoch takes its place, of one that has ended the average itself, whose checkpoint is the newest in the store.
    """
    if state.ended and not state.early_stopping.has_fitness:
        state.early_stopping.best_epoch, state.best = max(0, state.position.epoch - 1), None


def _lay_out_like_weights(optimizer: torch.optim.Optimizer) -> None:
    """Give the momentum the weights' memory format: the fused kernels walk both as flat memory."""
    for weight, entry in optimizer.state.items():
        for name, value in entry.items():
            if isinstance(value, Tensor) and value.shape == weight.shape:
                entry[name] = torch.empty_like(weight, dtype=value.dtype).copy_(value)


def _restore_rank(per_rank: list[dict[str, Any]], state: TrainingState, ranks: Ranks) -> None:
    if len(per_rank) == ranks.world_size:
        own = RankState(**per_rank[ranks.rank])
        torch.set_rng_state(own.cpu_generator)
        if own.device_generator is not None and ranks.device.type == "cuda":
            torch.cuda.set_rng_state(own.device_generator, ranks.device)
        state.loss_sums_3.copy_(own.loss_sums_3)
    elif ranks.leads:
        state.loss_sums_3.copy_(torch.stack([entry["loss_sums_3"] for entry in per_rank]).sum(dim=0))


def half_precision_copy(model: nn.Module) -> dict[str, Tensor]:
    """The state dict on the CPU, floating-point numbers as float16: what best.pt holds."""
    return {
        # Copied also where nothing changes, on a CPU in float16, or the live tensor would come back.
        name: tensor.to("cpu", torch.float16 if tensor.is_floating_point() else tensor.dtype, copy=True)
        for name, tensor in model.state_dict().items()
    }
