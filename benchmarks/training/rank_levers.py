"""What the levers between ranks are worth: two ranks train, with and without each, in turns in the same processes.

torchrun starts this module once for each rank; `compare` starts torchrun.
"""

import functools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from datetime import timedelta
from typing import Any
from unittest import mock

import torch
from torch.nn.parallel import DistributedDataParallel

from masktrain_trainer.config import DEVICE_VARIABLE, Hyperparameters
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.train import step
from masktrain_trainer.train.distributed import Ranks, process_groups
from masktrain_trainer.train.optimizer import TensorUpdate
from masktrain_trainer.train.schedule import accumulation

from .report import compared, emit
from .training_parts import build_parts, random_batch
from .workload import Workload

RANKS = 2
STEPS_PER_ROUND = 2
TIMEOUT = timedelta(minutes=10)

Step = Callable[[], None]


def compare(workload: Workload, *, precision: str, rounds: int) -> None:
    """Nothing to compare on a machine with a single GPU."""
    if workload.device == "cuda" and torch.cuda.device_count() < RANKS:
        return
    device = "cpu" if workload.device == "cpu" else "auto"
    threads = str(max(1, cpu_limit() // RANKS))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={RANKS}"]
    question = json.dumps({"workload": asdict(workload), "precision": precision, "rounds": rounds})
    subprocess.run(
        [*launcher, "-m", __name__, question],
        env={**os.environ, DEVICE_VARIABLE: device, "OMP_NUM_THREADS": threads},
        check=True,
    )


def main() -> None:
    question = json.loads(sys.argv[1])
    workload = Workload(**question["workload"])
    with process_groups(TIMEOUT) as ranks:
        build = functools.partial(_build_step, workload, question["precision"], ranks)
        without = {"no_sync while accumulating": functools.partial(build, always_synchronise=True)}
        if ranks.device.type == "cpu":
            without["flat buffers"] = functools.partial(build, changed=_by_tensor())
        else:
            without["gradient as bucket view"] = functools.partial(build, changed=_no_bucket_view())
        for lever, build_without in without.items():
            figures = _measure(build(), build_without(), workload, ranks, question["rounds"])
            if ranks.leads:
                emit(f"lever/{lever}/{workload}-{RANKS}-ranks", **figures, default=True)


def _measure(with_it: Step, without: Step, workload: Workload, ranks: Ranks, rounds: int) -> dict[str, Any]:
    speeds: dict[Step, list[float]] = {with_it: [], without: []}
    for number in range(1 + rounds):
        for run, values in speeds.items():
            seconds = _seconds(run, ranks)
            if number:  # the first round warms up
                values.append(STEPS_PER_ROUND * _batches_per_step(workload) * workload.batch_size / seconds)
    return compared(speeds[with_it], speeds[without], peer_name="the same step without it", unit="images/s")


def _build_step(
    workload: Workload,
    precision: str,
    ranks: Ranks,
    *,
    changed: AbstractContextManager[object] | None = None,
    always_synchronise: bool = False,
) -> Step:
    """One optimizer step on resident batches that make up the nominal batch."""
    share = replace(workload, batch_size=workload.batch_size // RANKS)
    with changed or nullcontext():
        parts = build_parts(share, precision, ranks)
    batch = random_batch(share.batch_size, share.image_size)
    batches = _batches_per_step(workload)

    def take_step() -> None:
        for number in range(batches):
            parts.step.backward(batch, synchronise=always_synchronise or number + 1 == batches)
        parts.step.step()

    return take_step


def _by_tensor() -> AbstractContextManager[object]:
    """As on GPUs, but with gradients in memory of their own."""
    return mock.patch.object(step, "FlatUpdate", TensorUpdate)


def _no_bucket_view() -> AbstractContextManager[object]:
    """Every gradient of a network made meanwhile lies in its own memory and is copied to the bucket and back."""
    original = DistributedDataParallel.__init__

    @functools.wraps(original)
    def construct(*arguments: Any, **options: Any) -> None:
        original(*arguments, **{**options, "gradient_as_bucket_view": False})

    return mock.patch.object(DistributedDataParallel, "__init__", construct)


def _batches_per_step(workload: Workload) -> int:
    return accumulation(workload.batch_size, Hyperparameters().nominal_batch_size)


def _seconds(run: Step, ranks: Ranks) -> float:
    """Of a round, from when all ranks are there until all are through."""
    ranks.gather(None)
    started = time.perf_counter()
    for _ in range(STEPS_PER_ROUND):
        run()
    if ranks.device.type == "cuda":
        torch.cuda.synchronize(ranks.device)
    ranks.gather(None)
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
