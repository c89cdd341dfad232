"""What was found in a data set: the summary for the job's status, and the table people read in the log."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from masktrain_trainer.config import DatasetSummary

from .arrays import Targets
from .verify import VerifiedSplit

MOST_WARNINGS = 10
TABLE_WIDTH = 100


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
