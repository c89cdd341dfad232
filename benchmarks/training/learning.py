"""How much is learnt by when: the area under mAP50 over time, from scratch, each trainer with its own defaults.

Those defaults are the same hyperparameters (SGD, linear schedule, v7.0's "low" set), so the difference is what time
buys. The clock starts with the program, so preparation counts. There are more epochs than time: both are ended.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from . import ours, yolov5
from .epochs import Epoch, mean_map50
from .report import emit, ratios, spread
from .workload import DrawnDataset, Workload

GOAL = 1.4

Train = Callable[[Workload, DrawnDataset, Path, float], list[Epoch]]


def compare(workload: Workload, dataset: DrawnDataset, folder: Path, *, seeds: int, seconds: float) -> None:
    """One line for each run, then the one that compares them."""
    trainers: dict[str, Train] = {"ours": _ours, "yolov5": _yolov5}
    means: dict[str, list[float]] = {name: [] for name in trainers}
    for seed in range(seeds):
        for name, train in trainers.items():
            seeded = replace(workload, seed=seed)
            started = time.monotonic()
            epochs = train(seeded, dataset, folder / f"{name}-{seed}", seconds)
            means[name].append(mean_map50(epochs, started, seconds))
            _print_curve(name, seeded, epochs, started, means[name][-1])
    pairs = ratios(means["ours"], [max(mean, 1e-6) for mean in means["yolov5"]])
    medians = {name: statistics.median(values) for name, values in means.items()}
    emit(
        f"mean-map50-over-{seconds:.0f}-s/{workload}",
        value=round(medians["ours"], 4),
        unit="mAP50, mean over time",
        spread=spread(means["ours"], 4),
        peer=round(medians["yolov5"], 4),
        peer_spread=spread(means["yolov5"], 4),
        peer_name=yolov5.NAME,
        ratio=round(medians["ours"] / max(medians["yolov5"], 1e-6), 2),
        ratio_spread=spread(pairs),
        seeds=seeds,
        hyperparameters="the defaults of both, which are the same",
        goal=GOAL,
    )


def _ours(workload: Workload, dataset: DrawnDataset, folder: Path, seconds: float) -> list[Epoch]:
    return ours.train(workload, dataset, folder, seconds=seconds)


def _yolov5(workload: Workload, dataset: DrawnDataset, folder: Path, seconds: float) -> list[Epoch]:
    return yolov5.train(workload, dataset, folder, seconds=seconds)


def _print_curve(name: str, workload: Workload, epochs: list[Epoch], started: float, mean: float) -> None:
    emit(
        f"map50-over-time/{name}/{workload}/seed-{workload.seed}",
        mean=round(mean, 4),
        epochs=len(epochs),
        seconds=[round(epoch.ended_at - started, 1) for epoch in epochs],
        map50=[epoch.map50 for epoch in epochs],
    )
