"""Our trainer as a pod runs it: preparation, training, uploads to a store and the report, all of it."""

import os
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    DEVICE_VARIABLE,
    CheckpointSpec,
    DatasetSpec,
    ModelSpec,
    RunConfig,
    TrainingSpec,
)
from masktrain_trainer.pod.launch import (
    ALLOCATOR_VARIABLE,
    PROGRESS_PORT_VARIABLE,
    SHARED_MEMORY_VARIABLE,
    TERMINATION_LOG_VARIABLE,
    WORKSPACE_VARIABLE,
)

from .epochs import Epoch
from .observed_process import Line, run_observed
from .workload import DrawnDataset, Workload

START = re.compile(r"\d+ training images in \d+ batches")
RESULT = re.compile(r" epoch \d+/\d+ .* mAP50 (?P<map50>[\d.]+) .* (?P<speed>[\d.]+) images/s")
SAVED = re.compile(r" checkpoint of epoch \d+ step \d+ \((epoch|final)\)")


def train(
    workload: Workload,
    dataset: DrawnDataset,
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
    variables: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> list[Epoch]:
    """The epochs of one run; `options` are fields of `TrainingSpec`. After `seconds` it is ended."""
    folder.mkdir(parents=True)
    config = run_config(workload, dataset, folder, options or {})
    command = [sys.executable, "-m", "masktrain_trainer.cli.main", "supervise"]
    chosen = {**environment(config, workload.device, folder), **(variables or {})}
    return read_epochs(run_observed(command, chosen, folder, seconds=seconds))


def run_config(workload: Workload, dataset: DrawnDataset, folder: Path, options: Mapping[str, Any]) -> RunConfig:
    training = {
        "epochs": workload.epochs,
        "batch_size": workload.batch_size,
        "image_size": workload.image_size,
        "seed": workload.seed,
        "patience": 0,
    }
    return RunConfig(
        namespace="benchmark",
        name=workload.architecture,
        uid="1",
        attempt=0,
        model=ModelSpec(architecture=workload.architecture),
        dataset=DatasetSpec(uri=dataset.archive.resolve().as_uri()),
        training=TrainingSpec(**{**training, **options}),
        checkpoint=CheckpointSpec(uri=(folder / "checkpoints").resolve().as_uri()),
        hang_timeout_seconds=600,
        stop_grace_seconds=30,
    )


def environment(config: RunConfig, device: str, folder: Path) -> dict[str, str]:
    """Variables that put a whole pod into `folder`."""
    own = {
        CONFIG_VARIABLE: config.to_json(),
        DEVICE_VARIABLE: "cpu" if device == "cpu" else "auto",
        WORKSPACE_VARIABLE: str(folder / "workspace"),
        SHARED_MEMORY_VARIABLE: str(folder / "memory"),
        TERMINATION_LOG_VARIABLE: str(folder / "termination-log"),
        PROGRESS_PORT_VARIABLE: "0",
    }
    inherited = {name: value for name, value in os.environ.items() if name != ALLOCATOR_VARIABLE}
    return {**inherited, **own}


def read_epochs(lines: Sequence[Line]) -> list[Epoch]:
    """An epoch lasts from one checkpoint's hand-over to the next; the first one begins when training is introduced."""
    starts = [line.at for line in lines if START.search(line.text)][-1:]
    ends = [line.at for line in lines if SAVED.search(line.text)]
    results = [match for line in lines if (match := RESULT.search(line.text))]
    return [
        Epoch(float(result["speed"]), wall_seconds=end - start, ended_at=end, map50=float(result["map50"]))
        for (start, end), result in zip(pairwise([*starts, *ends]), results, strict=False)
    ]
