"""What levers of the loader processes are worth: samples that one process makes per second."""

import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import cv2
import numpy as np

from masktrain_trainer.config import Hyperparameters, RunConfig
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.data.dataset import Collator, TrainDataset
from masktrain_trainer.data.geometry import Image
from masktrain_trainer.data.prepare import prepare
from masktrain_trainer.data.prepared import CachedImages, PreparedDataset, load_prepared

from . import ours
from .report import compared, emit
from .workload import DrawnDataset, Workload

SAMPLES_PER_ROUND = 100
BATCH_OF_A_ROUND = 20


def compare(workload: Workload, drawn: DrawnDataset, folder: Path, *, rounds: int) -> None:
    prepared = _prepare(ours.run_config(workload, drawn, folder, {}), folder / "decoded")
    jpegs = _prepare(ours.run_config(workload, drawn, folder, {"decoded_cache_gib": 0}), folder / "jpegs")
    dataset = _dataset(prepared)
    cv2.setNumThreads(0)
    _compare_cache(dataset, _Files(prepared), rounds=rounds)
    _compare_jpegs(dataset, _dataset(jpegs), rounds=rounds)
    _compare_rendering(dataset, rounds=rounds)


def _prepare(config: RunConfig, output: Path) -> PreparedDataset:
    with redirect_stdout(sys.stderr):
        prepare(config, output, processes=cpu_limit())
    return load_prepared(output)


def _dataset(prepared: PreparedDataset) -> TrainDataset:
    return TrainDataset(prepared, prepared.image_size, Hyperparameters(), seed=0)


def _compare_cache(dataset: TrainDataset, files: "_Files", *, rounds: int) -> None:
    speeds: dict[str, list[float]] = {"cache": [], "files": []}
    for epoch in range(rounds):
        speeds["cache"].append(_samples_per_second(dataset, epoch))
        with mock.patch.object(CachedImages, "image", lambda _, index: files.image(index)):
            speeds["files"].append(_samples_per_second(dataset, epoch))
    emit(
        f"lever/cache of decoded images/{dataset.image_size}px",
        **compared(
            speeds["cache"], speeds["files"], peer_name="decoding the files each time", unit="images/s per process"
        ),
        default=True,
    )


def _compare_jpegs(decoded: TrainDataset, jpegs: TrainDataset, *, rounds: int) -> None:
    """What a data set that is too large to be kept decoded costs."""
    speeds: dict[str, list[float]] = {"decoded": [], "jpegs": []}
    for epoch in range(rounds):
        speeds["decoded"].append(_samples_per_second(decoded, epoch))
        speeds["jpegs"].append(_samples_per_second(jpegs, epoch))
    emit(
        f"lever/decoded pixels in the cache/{decoded.image_size}px",
        **compared(speeds["decoded"], speeds["jpegs"], peer_name="JPEGs in the cache", unit="images/s per process"),
        default=True,
    )


def _compare_rendering(dataset: TrainDataset, *, rounds: int) -> None:
    """What a loader process makes when a GPU renders the images, and when it renders them itself."""
    speeds: dict[bool, list[float]] = {False: [], True: []}
    for epoch in range(rounds):
        for render_here, values in speeds.items():
            values.append(_batched_samples_per_second(Collator(dataset, render_here=render_here), epoch))
    emit(
        f"lever/loading for augmentation on the GPU/{dataset.image_size}px",
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


def _batched_samples_per_second(collator: Collator, epoch: int) -> float:
    pixels = np.zeros(collator.bytes_for(BATCH_OF_A_ROUND), np.uint8)
    batches = SAMPLES_PER_ROUND // BATCH_OF_A_ROUND
    started = time.perf_counter()
    for batch in range(batches):
        collator.collate(
            (epoch, (np.arange(BATCH_OF_A_ROUND) + batch * BATCH_OF_A_ROUND) % len(collator.dataset)), pixels
        )
    return batches * BATCH_OF_A_ROUND / (time.perf_counter() - started)
