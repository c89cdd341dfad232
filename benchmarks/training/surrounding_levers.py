"""What the levers around the training step are worth: worker processes, kept memory, the cache of decoded images,
augmentation on a GPU.
"""

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
from masktrain_trainer.data.batch_maker import BatchMaker
from masktrain_trainer.data.cache import CachedImages
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.prepared import PreparedDataset, load_prepared
from masktrain_trainer.train.launch import ALLOCATOR_VARIABLE

from . import ours
from .epochs import mean_images_per_second, steady
from .report import compared, emit
from .workload import DrawnDataset, Workload

SAMPLES_PER_ROUND = 100
BATCH_OF_A_ROUND = 20


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


def compare_trainings(workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int) -> None:
    """Whole trainings with each lever and without it, in turns."""
    for name, lever in (LEVERS | (GPU_LEVERS if workload.device == "cuda" else {})).items():
        _compare_trainings(name, lever, workload, dataset, folder, rounds=rounds)


def _compare_trainings(
    name: str, lever: Lever, workload: Workload, dataset: DrawnDataset, folder: Path, *, rounds: int
) -> None:
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


def compare_loading(prepared: Path, *, rounds: int) -> None:
    """What a loader process makes per second when a GPU finishes the images, and when it finishes them itself."""
    content = load_prepared(prepared)
    dataset = TrainDataset(content, content.image_size, Hyperparameters(), seed=0)
    cv2.setNumThreads(0)
    speeds: dict[bool, list[float]] = {False: [], True: []}
    for epoch in range(rounds):
        for finish, values in speeds.items():
            values.append(_batched_samples_per_second(BatchMaker(dataset, finish=finish), epoch))
    emit(
        f"lever/loading for augmentation on the GPU/{content.image_size}px",
        **compared(
            speeds[False], speeds[True], peer_name="loaders that augment themselves", unit="images/s per process"
        ),
        default=False,
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


def _batched_samples_per_second(maker: BatchMaker, epoch: int) -> float:
    pixels = np.zeros(maker.bytes_for(BATCH_OF_A_ROUND), np.uint8)
    batches = SAMPLES_PER_ROUND // BATCH_OF_A_ROUND
    started = time.perf_counter()
    for batch in range(batches):
        maker.make((epoch, (np.arange(BATCH_OF_A_ROUND) + batch * BATCH_OF_A_ROUND) % len(maker.dataset)), pixels)
    return batches * BATCH_OF_A_ROUND / (time.perf_counter() - started)
