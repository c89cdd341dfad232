"""What levers around the training step are worth: whole trainings, with and without each, in turns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from masktrain_trainer.pod.launch import ALLOCATOR_VARIABLE

from . import ours
from .epochs import mean_images_per_second, steady
from .report import compared, emit
from .workload import DrawnDataset, Workload


@dataclass(frozen=True)
class Change:
    """What a training does otherwise than by default: fields of `TrainingSpec`, environment variables."""

    words: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Lever:
    """Either side of a comparison; what is not changed is the default."""

    with_it: Change = Change()
    without: Change = Change()


LEVERS = {
    "worker processes": Lever(without=Change("samples made in the training process", options={"workers": 0})),
    "kept heap": Lever(without=Change("the C library's default allocation", variables={ALLOCATOR_VARIABLE: ""})),
}
GPU_LEVERS = {
    "augmentation on the GPU": Lever(
        with_it=Change(options={"gpuAugmentation": True}), without=Change("augmentation in the loader processes")
    ),
}


def compare(workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int) -> None:
    """Whole trainings with each lever and without it, in turns."""
    for name, lever in (LEVERS | (GPU_LEVERS if workload.device == "cuda" else {})).items():
        _compare(name, lever, workload, dataset, folder, rounds=rounds)


def _compare(name: str, lever: Lever, workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int) -> None:
    sides = {"with": lever.with_it, "without": lever.without}
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    for number in range(rounds):
        for side, change in sides.items():
            place = folder / f"{name.replace(' ', '-')}-{side}-{number}"
            epochs = ours.train(workload, dataset, place, options=change.options, variables=change.variables)
            speeds[side].append(mean_images_per_second(steady(epochs)))
    emit(
        f"lever/{name}/{workload}",
        **compared(speeds["with"], speeds["without"], peer_name=lever.without.words, unit="images/s"),
        default=lever.with_it == Change(),
    )
