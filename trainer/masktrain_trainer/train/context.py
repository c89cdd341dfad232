"""What stays the same through a training and every part of it needs."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from masktrain_trainer.config import Hyperparameters, RunConfig, TrainingSpec
from masktrain_trainer.data.prepared import PreparedDataset

from .distributed import Ranks
from .heartbeat import Heartbeat
from .run_directory import RunDirectory


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
    heart: Heartbeat
    format: torch.dtype
    started: float = field(default_factory=time.monotonic)

    @property
    def training(self) -> TrainingSpec:
        return self.config.training

    @property
    def hyperparameters(self) -> Hyperparameters:
        return self.config.training.hyperparameters
