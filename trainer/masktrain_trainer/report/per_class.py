"""per_class.csv: the scores of every class on every split that was evaluated, for spreadsheets and scripts."""

import csv
from collections.abc import Iterator
from pathlib import Path

from .evaluation import ClassScores, Evaluation, SplitScores

COLUMNS = ("split", "class", "name", "images", "labels", "precision", "recall", "mAP50", "mAP50-95")


def write_per_class(evaluation: Evaluation, path: Path) -> None:
    """The mean over all classes first, without a class number; a class without labels has no scores."""
    splits = {"val": SplitScores(overall=evaluation.overall, classes=evaluation.classes)}
    if evaluation.test is not None:
        splits["test"] = evaluation.test
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for split, scores in splits.items():
            writer.writerows(_rows(split, scores))


def _rows(split: str, scores: SplitScores) -> Iterator[tuple[str | int, ...]]:
    yield split, "", *_cells(scores.overall)
    for index, row in enumerate(scores.classes):
        yield split, index, *_cells(row)


def _cells(row: ClassScores) -> tuple[str | int, ...]:
    numbers = (row.precision, row.recall, row.map50, row.map50_95)
    shown = [f"{number:.5g}" if row.labels else "" for number in numbers]
    return row.name, row.images, row.labels, *shown
