"""labels.png and train_batch0.jpg …: all that can be shown before a training, drawn while it starts.

They need the prepared data alone, so they are there even if the training fails. A process of its own that gives way to
the training's, and that imports no torch.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from masktrain_trainer.config import CONFIG_VARIABLE, RunConfig, TrainingSpec
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.geometry import xywhn_to_xyxy
from masktrain_trainer.data.prepared import CachedImages, PreparedDataset, Split, load_prepared
from masktrain_trainer.data.sampler import Shards, count_boxes, image_weights
from masktrain_trainer.run_directory import RunDirectory

from .pictures import GRID, TILE, Tile, draw_grid, labelled
from .plots import BLUE, GREY, ORANGE, figure_names, name_classes, save_figure, tick_size

_CELL = 8
"""Pixels of a cell of the finest grid; smaller boxes are mostly missed."""
_MANY_CLASSES = 40
_MOST_COUNTED = 100
"""Images with more boxes than that share a bar."""


@dataclass(frozen=True)
class BoxStatistics:
    """All boxes of a split: class, normalised centre and size; pixels at training size; and boxes in each image."""

    classes_M: NDArray[np.int64]
    xywh_M4: NDArray[np.float32]
    sides_M: NDArray[np.float64]
    """Square root of the area."""
    per_image_N: NDArray[np.int64]


def box_statistics(split: Split, image_size: int) -> BoxStatistics:
    images = CachedImages(split.labels, split.cache)
    targets = [images.targets(index) for index in range(len(images))]
    per_image_N = np.array([len(rows) for rows in targets], np.int64)
    rows_M5 = np.concatenate([np.zeros((0, 5), np.float32), *targets])
    heights_N, widths_N = (images.sizes_N2 * (image_size / images.sizes_N2.max(axis=1, keepdims=True))).T
    areas_M = rows_M5[:, 3] * np.repeat(widths_N, per_image_N) * rows_M5[:, 4] * np.repeat(heights_N, per_image_N)
    return BoxStatistics(rows_M5[:, 0].astype(np.int64), rows_M5[:, 1:], np.sqrt(areas_M), per_image_N)


def draw_labels(boxes: BoxStatistics, names: Sequence[str], image_size: int, path: Path) -> None:
    """A bar for each class, and four panels of places and sizes."""
    tall = len(names) > _MANY_CLASSES
    height = min(15.0, 1.5 + 0.16 * len(names)) if tall else 7.0
    figure = Figure(figsize=(12.0, height) if tall else (15.0, height), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(3, 2) if tall else (2, 3))[0]
    _draw_counts(left.subplots(), boxes, names)
    panels = right.subplots(4, 1) if tall else right.subplots(2, 2)
    centres, shapes, sizes, crowds = panels.ravel()
    _draw_density(centres, boxes.xywh_M4[:, 0], boxes.xywh_M4[:, 1], "centres of the boxes", ("x", "y"))
    # As in pictures, where y grows downwards.
    centres.invert_yaxis()
    _draw_density(shapes, boxes.xywh_M4[:, 2], boxes.xywh_M4[:, 3], "sizes of the boxes", ("width", "height"))
    _draw_sides(sizes, boxes.sides_M, image_size)
    _draw_crowds(crowds, boxes.per_image_N)
    save_figure(figure, path)


def _draw_counts(axes: Axes, boxes: BoxStatistics, names: Sequence[str]) -> None:
    counts_C = np.bincount(boxes.classes_M, minlength=len(names))
    bars = axes.barh(range(len(names)), counts_C, color=BLUE, height=min(0.8, 0.25 * len(names)))
    axes.bar_label(bars, [f"{count:,}" for count in counts_C], padding=3, fontsize=tick_size(len(names)))
    name_classes(axes, names, y=True)
    axes.set(title=f"training boxes of each class, {len(boxes.classes_M):,} in all", ylim=(len(names) - 0.4, -0.6))
    axes.margins(x=0.12)
    axes.grid(axis="x", alpha=0.3)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.set_axisbelow(True)


def _draw_density(
    axes: Axes, x_M: NDArray[np.float32], y_M: NDArray[np.float32], title: str, axis_names: tuple[str, str]
) -> None:
    """Fractions of the picture, darker where more boxes are."""
    counts, _, _ = np.histogram2d(y_M, x_M, bins=50, range=((0, 1), (0, 1)))
    shown = np.ma.masked_equal(counts, 0)
    norm = LogNorm(vmin=0.5, vmax=max(2.0, counts.max()))
    axes.imshow(shown, origin="lower", extent=(0, 1, 0, 1), cmap="Blues", norm=norm, interpolation="nearest")
    axes.set(title=title, xlabel=f"{axis_names[0]} / picture", ylabel=f"{axis_names[1]} / picture")


def _draw_sides(axes: Axes, sides_M: NDArray[np.float64], image_size: int) -> None:
    edges = 2.0 ** np.linspace(0, np.log2(image_size), 41)
    axes.hist(np.clip(sides_M, 1, image_size), bins=edges.tolist(), color=BLUE)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    axes.axvline(_CELL, color=ORANGE, linestyle="--", linewidth=1.2)
    tiny = float(np.mean(sides_M < _CELL)) if len(sides_M) else 0.0
    axes.set(
        title=f"box side at {image_size} px ({tiny:.0%} below {_CELL} px)", xlabel="√area in pixels", ylabel="boxes"
    )
    axes.grid(axis="y", alpha=0.3)


def _draw_crowds(axes: Axes, per_image_N: NDArray[np.int64]) -> None:
    counted = np.bincount(np.minimum(per_image_N, _MOST_COUNTED))
    colours = [GREY, *[BLUE] * (len(counted) - 1)]
    axes.bar(range(len(counted)), counted, color=colours)
    background = f"{counted[0]:,} images show nothing" if counted[0] else "every image has a box"
    axes.set(title=f"boxes in an image ({background})", xlabel="boxes", ylabel="images")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    axes.grid(axis="y", alpha=0.3)


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
    # As training begins: before the first validation every class counts as not found.
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
