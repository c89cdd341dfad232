"""A rank's context and state without a data set, a pod or a second rank."""

from pathlib import Path
from typing import Any

import torch

from masktrain_trainer.config import Architecture, Hyperparameters, RunConfig
from masktrain_trainer.data.prepared import PreparedDataset, Split
from masktrain_trainer.heartbeat import Heartbeat
from masktrain_trainer.model.precision import build_scaler
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.run_directory import RunDirectory
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.optimizer import ModelEma, build_optimizer
from masktrain_trainer.train.state import Context, EarlyStopping, TrainingState

CPU = torch.device("cpu")


def context(
    folder: Path, training: dict[str, Any] | None = None, world_size: int = 1, weights: str = "scratch"
) -> Context:
    config = RunConfig.model_validate(
        {
            "namespace": "team",
            "name": "tiny",
            "uid": "uid-1",
            "attempt": 0,
            "model": {"architecture": "yolov5n", "weights": weights},
            "dataset": {"uri": "file:///unused.zip"},
            "training": {"imageSize": 64, **(training or {})},
            "checkpoint": {"uri": "file:///unused"},
            "hangTimeoutSeconds": 60,
            "stopGraceSeconds": 60,
        }
    )
    nothing = Split(images=[], labels=folder / "labels.npz", cache=folder / "pixels")
    prepared = PreparedDataset(names=["red", "green"], image_size=64, train=nothing, val=nothing)
    run = RunDirectory(folder / "run")
    run.create()
    spool, heart = folder / "shm" / "masktrain" / "spool", Heartbeat(run.heartbeat(0))
    return Context(config, prepared, Ranks(0, 0, world_size, world_size, CPU), run, spool, heart, torch.float32)


def state() -> TrainingState:
    torch.set_num_threads(1)
    model, h = build_yolo(Architecture.YOLOV5N, 2), Hyperparameters()
    optimizer = build_optimizer(model, h, 16)
    scaler = build_scaler(CPU, torch.float32)
    return TrainingState(model, ModelEma(model, 0.9, 10), optimizer, scaler, EarlyStopping(0), torch.zeros(3))
