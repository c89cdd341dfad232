"""The CSV files of a training: results.csv for its epochs and per_class.csv for its classes.

results.csv has YOLOv5's columns and widths, so that people's plotting scripts go on working.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .evaluation import ClassScores, Evaluation, SplitScores

RESULT_COLUMNS = (
    "epoch",
    *("train/box_loss", "train/obj_loss", "train/cls_loss"),
    *("metrics/precision", "metrics/recall", "metrics/mAP_0.5", "metrics/mAP_0.5:0.95"),
    *("val/box_loss", "val/obj_loss", "val/cls_loss"),
    *("x/lr0", "x/lr1", "x/lr2"),
)


@dataclass(frozen=True)
class EpochResult:
    """One line. Losses in the order box, objectness, class; learning rates in the order of the optimizer's groups."""

    epoch: int
    train_losses: Sequence[float]
    precision: float
    recall: float
    map50: float
    map50_95: float
    val_losses: Sequence[float]
    learning_rates: Sequence[float]

    def values(self) -> list[float]:
        metrics = (self.precision, self.recall, self.map50, self.map50_95)
        return [self.epoch, *self.train_losses, *metrics, *self.val_losses, *self.learning_rates]


def result_header() -> str:
    """Columns right-aligned to 20 characters, no comma at the end."""
    return ",".join(f"{column:>20}" for column in RESULT_COLUMNS) + "\n"


def result_line(result: EpochResult) -> str:
    """Five significant digits."""
    return ",".join(f"{value:20.5g}" for value in result.values()) + "\n"


def append_result(text: str, result: EpochResult) -> str:
    return (text or result_header()) + result_line(result)


def parse_results(text: str) -> dict[str, list[float]]:
    """Column name to values over the epochs."""
    rows = [[field.strip() for field in row.split(",")] for row in text.splitlines() if row.strip()]
    return {name: [float(row[index]) for row in rows[1:]] for index, name in enumerate(rows[0])} if rows else {}


PER_CLASS_COLUMNS = ("split", "class", "name", "images", "labels", "precision", "recall", "mAP50", "mAP50-95")


def write_per_class(evaluation: Evaluation, path: Path) -> None:
    """The mean over all classes first, without a class number; a class without labels has no scores."""
    splits = {"val": SplitScores(overall=evaluation.overall, classes=evaluation.classes)}
    if evaluation.test is not None:
        splits["test"] = evaluation.test
    with path.open("w", encoding="utf-8", newline="") as file:
        # csv's own line ends are those of Windows.
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(PER_CLASS_COLUMNS)
        for split, scores in splits.items():
            writer.writerows(_rows(split, scores))


def _rows(split: str, scores: SplitScores) -> Iterator[tuple[str | int, ...]]:
    yield split, "", *_cells(scores.overall)
    for index, row in enumerate(scores.classes):
        yield split, index, *_cells(row)


# Spreadsheets of other languages part cells at semicolons, and take the wide signs of East Asian keyboards too.
_FORMULA = re.compile(r"(^|[;\t])(\s*[=+\-@\uff1d\uff0b\uff0d\uff20])")


def as_text(name: str) -> str:
    """Not a formula for the spreadsheet that opens the table."""
    return _FORMULA.sub(r"\1'\2", name)


def _cells(row: ClassScores) -> tuple[str | int, ...]:
    numbers = (row.precision, row.recall, row.map50, row.map50_95)
    shown = [f"{number:.5g}" if row.labels else "" for number in numbers]
    return as_text(row.name), row.images, row.labels, *shown
