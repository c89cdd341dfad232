"""What was found in a data set: the summary for the job's status, the table people read in the log, and the statistics
of the training split that advice is based on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masktrain_trainer.config import DatasetSummary

from .arrays import Targets
from .cache import CachedImages
from .prepared import PreparedDataset
from .verify import VerifiedSplit

MOST_WARNINGS = 10
TABLE_WIDTH = 100


@dataclass(frozen=True)
class TrainingStatistics:
    """`relative_sides_M`: the square root of each box's area as a fraction of its picture's longer side, so that times
    the image size it is in pixels of the training image. `mean_longer_side` is in pixels of the original pictures.
    """

    names: tuple[str, ...]
    boxes_per_class: tuple[int, ...]
    relative_sides_M: npt.NDArray[np.float64]
    mean_longer_side: float

    def share_below(self, pixels: float, image_size: int) -> float:
        """Share of the boxes that are smaller than that at an image size."""
        return float(np.mean(self.relative_sides_M * image_size < pixels)) if len(self.relative_sides_M) else 0.0


def training_statistics(prepared: PreparedDataset) -> TrainingStatistics:
    """From the index of the prepared training split; no pixel is read."""
    images = CachedImages(prepared.train.labels, prepared.train.cache)
    targets = [images.targets(index) for index in range(len(images))]
    return TrainingStatistics(
        names=tuple(prepared.names),
        boxes_per_class=tuple(boxes for boxes, _ in _counts(targets, len(prepared.names))),
        relative_sides_M=np.concatenate(
            [_relative_sides(*found) for found in zip(targets, images.sizes_N2, strict=True)]
        ),
        mean_longer_side=float(np.mean([max(image.height, image.width) for image in prepared.train.images])),
    )


def _relative_sides(targets_N5: Targets, size_2: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    height, width = size_2 / size_2.max()
    areas: npt.NDArray[np.float64] = targets_N5[:, 3] * width * targets_N5[:, 4] * height
    return np.sqrt(areas)


def summarise(names: list[str], splits: Mapping[str, VerifiedSplit]) -> DatasetSummary:
    train, val = splits["train"], splits["val"]
    return DatasetSummary(
        classes=names,
        images=len(train.targets),
        boxes=sum(map(len, train.targets)),
        validation_images=len(val.targets),
        validation_boxes=sum(map(len, val.targets)),
        skipped_images=sum(len(split.skipped) for split in splits.values()),
        warnings=_warnings(names, splits)[:MOST_WARNINGS],
    )


def print_classes(names: list[str], splits: Mapping[str, VerifiedSplit], console: Console | None = None) -> None:
    """Print one row per class with its number of boxes and of images that show it, per split."""
    table = Table(title="Classes, numbered as in data.yaml", title_justify="left")
    table.add_column("class", justify="right")
    table.add_column("name")
    for split in splits:
        table.add_column(f"{split} boxes", justify="right")
        table.add_column(f"{split} images", justify="right")
    counts = [_counts(verified.targets, len(names)) for verified in splits.values()]
    for label, name in enumerate(names):
        cells = [str(count) for per_class in counts for count in per_class[label]]
        table.add_row(str(label), Text(name), *cells)
    totals = [str(t) for v in splits.values() for t in (sum(map(len, v.targets)), len(v.targets))]
    table.add_section()
    table.add_row("", "all", *totals)
    (console or Console(width=TABLE_WIDTH)).print(table)


def _counts(targets: Sequence[Targets], classes: int) -> list[tuple[int, int]]:
    """Boxes and images per class."""
    labels = [target[:, 0].astype(int) for target in targets]
    boxes = sum((np.bincount(label, minlength=classes) for label in labels), np.zeros(classes, int))
    images = sum((np.bincount(np.unique(label), minlength=classes) for label in labels), np.zeros(classes, int))
    return [(int(b), int(i)) for b, i in zip(boxes, images, strict=True)]


def _warnings(names: list[str], splits: Mapping[str, VerifiedSplit]) -> list[str]:
    """Oddities first: they are few, and they matter for the whole training."""
    unseen = [
        name for name, (boxes, _) in zip(names, _counts(splits["train"].targets, len(names)), strict=True) if not boxes
    ]
    duplicates = sum(split.duplicates for split in splits.values())
    return [
        *(f"No training image shows the class {name!r}." for name in unseen),
        *([f"{duplicates} label rows were there twice and are left out."] if duplicates else []),
        *(sentence for split in splits.values() for sentence in split.skipped),
    ]
