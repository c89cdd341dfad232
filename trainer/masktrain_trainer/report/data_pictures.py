"""labels.png and train_batch0.jpg …: all that can be shown before a training, drawn while it starts.

They need the prepared data alone, so they are there even if the training fails. A process of its own that gives way to
the training's, and that imports no torch.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from masktrain_trainer.config import CONFIG_VARIABLE, RunConfig, TrainingSpec
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.geometry import xywhn_to_xyxy
from masktrain_trainer.data.prepared import PreparedDataset, load_prepared
from masktrain_trainer.data.sampler import Shards, count_boxes, image_weights
from masktrain_trainer.train.run_directory import RunDirectory

from .labels_plot import box_statistics, draw_labels
from .names import figure_names
from .pictures import GRID, TILE, Tile, draw_grid, labelled

BATCHES = 3
NICENESS = 10

log = logging.getLogger(__name__)


def draw_data_pictures(prepared: PreparedDataset, training: TrainingSpec, folder: Path) -> list[Path]:
    names = figure_names(prepared.names)
    drawn = [folder / "labels.png"]
    draw_labels(box_statistics(prepared.train, training.image_size), names, training.image_size, drawn[0])
    dataset = TrainDataset(prepared, training.image_size, training.hyperparameters, training.seed)
    for batch, indices_B in enumerate(first_batches(prepared, training)):
        drawn.append(folder / f"train_batch{batch}.jpg")
        draw_grid([_tile(dataset, index, prepared, names) for index in indices_B[:GRID].tolist()], drawn[-1])
    return drawn


def first_batches(prepared: PreparedDataset, training: TrainingSpec) -> Sequence[NDArray[np.int64]]:
    """Indices of the images in the first batches of the first epoch, over all ranks.

    With `autoBatch` as if `batchSize` were what fits: what that is, only the GPUs know, and later.
    """
    classes = len(prepared.names)
    weights_N = image_weights(count_boxes(prepared.train, classes), [0.0] * classes) if training.image_weights else None
    return list(Shards(len(prepared.train.images), training.seed, training.batch_size).batches(0, weights_N)[:BATCHES])


def _tile(dataset: TrainDataset, index: int, prepared: PreparedDataset, names: Sequence[str]) -> Tile:
    """The augmented image that the first epoch makes around an image of the split."""
    image_CHW, targets_N5 = dataset.sample(0, index)
    pixels = cv2.resize(np.ascontiguousarray(image_CHW.transpose(1, 2, 0)), (TILE, TILE), interpolation=cv2.INTER_AREA)
    boxes_N4 = xywhn_to_xyxy(targets_N5[:, 1:], width=TILE, height=TILE)
    boxes = [labelled(int(row[0]), box, names, 1.0) for row, box in zip(targets_N5, boxes_N4.tolist(), strict=True)]
    return Tile(np.asarray(pixels, np.uint8), boxes, Path(prepared.train.images[index].name).name)


def main() -> None:
    os.nice(NICENESS)
    cv2.setNumThreads(1)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-directory", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="the prepared data set")
    options = parser.parse_args()
    config = RunConfig.model_validate_json(os.environ[CONFIG_VARIABLE])
    artifacts = RunDirectory(options.run_directory).artifacts
    drawn = draw_data_pictures(load_prepared(options.data), config.training, artifacts)
    log.info("pictures of the data: %s", ", ".join(path.name for path in drawn))


if __name__ == "__main__":
    main()
