"""Where the time of a training step goes: milliseconds a batch for each part of the trainer's own loop.

On a GPU the host only queues work, so its parts say what the queueing costs; beside them stands the share of the time
in which no kernel ran.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch.profiler import ProfilerActivity, profile

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.cpu_limit import cpu_limit, loader_workers
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.loader import Batch, TrainLoader
from masktrain_trainer.data.prepare import prepare
from masktrain_trainer.data.prepared import load_prepared
from masktrain_trainer.train import step

from . import ours
from .report import emit
from .training_parts import Parts, build_parts
from .workload import DrawnDataset, Workload

WARM_UP_BATCHES = 4
PROFILED_BATCHES = 12


class Stopwatch:
    """Sums seconds by name. Parts inside others count for both."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def timed(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **options: Any) -> Any:
            started = time.perf_counter()
            try:
                return act(*arguments, **options)
            finally:
                self.seconds[name] += time.perf_counter() - started

        return run


def measure(workload: Workload, dataset: DrawnDataset, folder: Path, *, precision: str) -> None:
    data = folder / "data"
    with redirect_stdout(sys.stderr):
        prepare(ours.run_config(workload, dataset, folder, {}), data, processes=cpu_limit())
    parts = build_parts(workload, precision)
    with _open_loader(data, workload) as loader:
        batches = _endless(loader)
        _train(parts, batches, WARM_UP_BATCHES)
        watch = Stopwatch()
        started = time.perf_counter()
        with _watched(parts, watch):
            _train(
                parts, (watch.timed("wait for data", next)(batches) for _ in range(PROFILED_BATCHES)), PROFILED_BATCHES
            )
            _wait(workload.device)
        total = time.perf_counter() - started
        idle = _idle_share(parts, batches) if workload.device == "cuda" else None
    _print(workload, watch, total, idle)


def _print(workload: Workload, watch: Stopwatch, total: float, idle: float | None) -> None:
    named = {name: 1000 * seconds / PROFILED_BATCHES for name, seconds in watch.seconds.items()}
    whole = 1000 * total / PROFILED_BATCHES
    named["everything else"] = whole - sum(named.values())
    model = named["forward"] + named["backward"]
    emit(
        f"time-of-a-batch/{workload}",
        value=round(whole, 2),
        unit="ms",
        parts_ms={name: round(value, 2) for name, value in sorted(named.items(), key=lambda entry: -entry[1])},
        outside_forward_and_backward=round(1 - model / whole, 4),
        **({} if idle is None else {"share_of_time_without_a_kernel": round(idle, 4)}),
    )


def _open_loader(data: Path, workload: Workload) -> TrainLoader:
    dataset = TrainDataset(load_prepared(data), workload.image_size, Hyperparameters(), seed=0)
    return TrainLoader(
        dataset,
        batch_size=workload.batch_size,
        workers=loader_workers(1, cpu_limit(), for_gpu=workload.device == "cuda"),
        device=torch.device(workload.device),
    )


def _endless(loader: TrainLoader) -> Iterator[Batch]:
    epoch = 0
    while True:
        yield from loader.batches(epoch)
        epoch += 1


def _train(parts: Parts, batches: Iterator[Batch], count: int) -> None:
    for _ in range(count):
        parts.step.backward(next(batches), synchronise=True)
        parts.step.step()


def _watched(parts: Parts, watch: Stopwatch) -> ExitStack:
    """The trainer's step with a stopwatch at each of its parts."""
    state = parts.state
    stack = ExitStack()
    for name, owner, attribute in (
        ("bytes to input", step, "to_input"),
        ("forward", type(state.model), "forward"),
        ("loss", type(parts.loss), "forward"),
        ("backward", torch.Tensor, "backward"),
        ("clip gradients", parts.step.update, "clip"),
        ("optimizer", parts.step.update, "step"),
        ("zero gradients", parts.step.update, "clear_gradients"),
        ("average (EMA)", parts.step.update, "average"),
    ):
        stack.enter_context(mock.patch.object(owner, attribute, watch.timed(name, getattr(owner, attribute))))
    return stack


def _idle_share(parts: Parts, batches: Iterator[Batch]) -> float:
    """Of the time between the first and the last kernel."""
    with profile(activities=[ProfilerActivity.CUDA]) as recorded:
        _train(parts, batches, PROFILED_BATCHES)
        _wait("cuda")
    spans: list[tuple[float, float]] = sorted(
        (event.time_range.start, event.time_range.end)
        for event in recorded.events() or []
        if event.device_type.name == "CUDA"
    )
    busy, reached = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return 1 - busy / (reached - spans[0][0])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()
