"""Fully augmented training samples per second in one process, by image size: prints one JSON line each.

    python benchmarks/training_samples.py [--rounds 5]

Mosaic of four, warp, colours and flip with the default hyperparameters, from the cache of decoded images, as a loader's
worker makes them. Each figure is the median over the rounds, in which the sizes take turns.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.data.source.verify import verify_split

IMAGE_SIZES = (160, 320, 640)
IMAGES = 64
BOXES_PER_IMAGE = 4
SAMPLES_PER_ROUND = 200


def draw_images(folder: Path) -> list[Path]:
    """Pictures of 640 x 480 with boxes, in the layout of a data set."""
    rng = np.random.default_rng(0)
    for part in ("images", "labels"):
        (folder / part).mkdir()
    for index in range(IMAGES):
        coarse = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{index}.jpg"), cv2.resize(coarse, (640, 480)))
        rows = [" ".join(["0", *map(str, box)]) for box in rng.uniform(0.2, 0.6, (BOXES_PER_IMAGE, 4)).round(4)]
        (folder / "labels" / f"{index}.txt").write_text("\n".join(rows))
    return sorted((folder / "images").resolve().iterdir())


def open_dataset(folder: Path, images: list[Path], image_size: int) -> TrainDataset:
    output = folder / str(image_size)
    output.mkdir()
    split = verify_split(
        "train",
        images,
        root=folder,
        output=output,
        classes=1,
        image_size=image_size,
        processes=1,
        say=lambda _: None,
    ).split
    prepared = PreparedDataset(names=["object"], image_size=image_size, train=split, val=split)
    return TrainDataset(prepared, image_size, Hyperparameters(), seed=0)


def samples_per_second(dataset: TrainDataset, epoch: int) -> float:
    start = time.perf_counter()
    for index in range(SAMPLES_PER_ROUND):
        dataset.sample(epoch, index % len(dataset))
    return SAMPLES_PER_ROUND / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        images = draw_images(Path(folder))
        datasets = {size: open_dataset(Path(folder), images, size) for size in IMAGE_SIZES}
        rates = [
            {size: samples_per_second(dataset, epoch) for size, dataset in datasets.items()} for epoch in range(rounds)
        ]
    for size in IMAGE_SIZES:
        line = {
            "benchmark": f"training-samples-per-second/{size}",
            "value": round(statistics.median(rate[size] for rate in rates), 1),
            "unit": "images/s per process",
            "machine": f"{os.cpu_count()} cores",
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
