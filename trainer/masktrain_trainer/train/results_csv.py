"""results.csv with YOLOv5's columns and widths, so that people's plotting scripts go on working."""

from collections.abc import Sequence
from dataclasses import dataclass

COLUMNS = (
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


def header() -> str:
    """Columns right-aligned to 20 characters, no comma at the end."""
    return ",".join(f"{column:>20}" for column in COLUMNS) + "\n"


def line(result: EpochResult) -> str:
    """Five significant digits."""
    return ",".join(f"{value:20.5g}" for value in result.values()) + "\n"


def append(text: str, result: EpochResult) -> str:
    return (text or header()) + line(result)


def parse(text: str) -> dict[str, list[float]]:
    """Column name to values over the epochs."""
    rows = [[field.strip() for field in row.split(",")] for row in text.splitlines() if row.strip()]
    return {name: [float(row[index]) for row in rows[1:]] for index, name in enumerate(rows[0])} if rows else {}
