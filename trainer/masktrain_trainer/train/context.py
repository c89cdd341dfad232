"""What stays the same through a training and every part of it needs."""

from dataclasses import dataclass
from pathlib import Path

import torch

from masktrain_trainer.config import Hyperparameters, RunConfig, TrainingSpec
from masktrain_trainer.data.prepared import PreparedDataset

from .distributed import Ranks
from .heartbeat import Heartbeat
from .run_directory import RunDirectory


@dataclass(frozen=True)
class Context:
    """`format` is what forward passes compute in; `spool` is where checkpoints are handed over."""

    config: RunConfig
    prepared: PreparedDataset
    ranks: Ranks
    run: RunDirectory
    spool: Path
    heart: Heartbeat
    format: torch.dtype

    @property
    def training(self) -> TrainingSpec:
        return self.config.training

    @property
    def hyperparameters(self) -> Hyperparameters:
        return self.config.training.hyperparameters
