"""What the levers around the training step are worth: the cache of decoded images, worker processes, kept memory."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.arrays import Image
from masktrain_trainer.data.cache import CachedImages
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.prepared import PreparedDataset, load_prepared
from masktrain_trainer.train.launch import ALLOCATOR_VARIABLE

from . import ours
from .epochs import mean_images_per_second, steady
from .report import compared, emit
from .workload import DrawnDataset, Workload

SAMPLES_PER_ROUND = 100


@dataclass(frozen=True)
class Change:
    """What a training without a lever does otherwise: fields of `TrainingSpec`, environment variables."""

    words: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)


WITHOUT = {
    "worker processes": Change("samples made in the training process", options={"workers": 0}),
    "kept heap": Change("the C library's default allocation", variables={ALLOCATOR_VARIABLE: ""}),
}


def compare_trainings(lever: str, workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int) -> None:
    """Whole trainings with the lever, which is the default, and without it, in turns."""
    without = WITHOUT[lever]
    speeds: dict[str, list[float]] = {"with": [], "without": []}
    for number in range(rounds):
        for name, values in speeds.items():
            off = without if name == "without" else Change()
            place = folder / f"{lever.replace(' ', '-')}-{name}-{number}"
            epochs = ours.train(workload, dataset, place, options=off.options, variables=off.variables)
            values.append(mean_images_per_second(steady(epochs)))
    emit(
        f"lever/{lever}/{workload}",
        **compared(speeds["with"], speeds["without"], peer_name=without.words, unit="images/s"),
        default=True,
    )


def compare_cache(prepared: Path, *, rounds: int) -> None:
    """Augmented samples per second of one process; `prepared` is the data folder of a training that has run."""
    content = load_prepared(prepared)
    dataset = TrainDataset(content, content.image_size, Hyperparameters(), seed=0)
    files = _Files(content)
    cv2.setNumThreads(0)
    speeds: dict[str, list[float]] = {"cache": [], "files": []}
    for epoch in range(rounds):
        speeds["cache"].append(_samples_per_second(dataset, epoch))
        with mock.patch.object(CachedImages, "image", lambda _, index: files.image(index)):
            speeds["files"].append(_samples_per_second(dataset, epoch))
    emit(
        f"lever/cache of decoded images/{content.image_size}px",
        **compared(
            speeds["cache"], speeds["files"], peer_name="decoding the files each time", unit="images/s per process"
        ),
        default=True,
    )


class _Files:
    """Images decoded and scaled at every access, from the files in the system's page cache."""

    def __init__(self, prepared: PreparedDataset) -> None:
        self._paths = [record.path for record in prepared.train.images]
        self._size = prepared.image_size

    def image(self, index: int) -> Image:
        read = cv2.imread(str(self._paths[index]))
        assert read is not None
        image = cv2.cvtColor(read, cv2.COLOR_BGR2RGB)
        scale = self._size / max(image.shape[:2])
        if scale != 1:
            image = cv2.resize(image, None, fx=scale, fy=scale)
        return np.asarray(image, np.uint8)


def _samples_per_second(dataset: TrainDataset, epoch: int) -> float:
    started = time.perf_counter()
    for index in range(SAMPLES_PER_ROUND):
        dataset.sample(epoch, index % len(dataset))
    return SAMPLES_PER_ROUND / (time.perf_counter() - started)
