"""Draw the report of a finished training: a process of its own, so that a failing plot cannot cost a result."""

import argparse
import logging
import time
from collections.abc import Iterator
from pathlib import Path

from masktrain_trainer.checkpoint.keys import DATA_PICTURES
from masktrain_trainer.run_directory import RunDirectory, read_document

from .evaluation import Evaluation
from .figures import figure_names
from .html import Illustration, illustrate, render_report
from .pictures import GRID, draw_grid, evaluated_tiles
from .plots import draw_confusion, draw_curves, draw_results
from .tables import parse_results, write_per_class

log = logging.getLogger(__name__)


def build_report(run: RunDirectory) -> list[Path]:
    """Write every figure the run has material for, and report.html around them and around those that show the data;
    returns the files.
    """
    evaluation = read_document(run.evaluation, Evaluation)
    figures = list(_draw_results(run, evaluation))
    if evaluation is None:
        return figures
    figures += _draw_evaluation(evaluation, run.artifacts)
    table = run.artifacts / "per_class.csv"
    write_per_class(evaluation, table)
    report = run.artifacts / "report.html"
    report.write_text(render_report(evaluation, _illustrations(run.artifacts, figures)), encoding="utf-8")
    return [*figures, table, report]


def _draw_results(run: RunDirectory, evaluation: Evaluation | None) -> Iterator[Path]:
    results = run.artifacts / "results.csv"
    if results.exists():
        figure = run.artifacts / "results.png"
        draw_results(
            parse_results(results.read_text(encoding="utf-8")), figure, evaluation.epoch if evaluation else None
        )
        yield figure


def _draw_evaluation(evaluation: Evaluation, folder: Path) -> Iterator[Path]:
    names = figure_names([scores.name for scores in evaluation.classes])
    if evaluation.confusion:
        yield folder / "confusion_matrix.png"
        draw_confusion(evaluation.confusion, names, folder / "confusion_matrix.png")
    yield from draw_curves(evaluation, names, folder)
    for batch, first in enumerate(range(0, len(evaluation.pictures), GRID)):
        tiles = evaluated_tiles(evaluation.pictures[first : first + GRID], names)
        if tiles:
            labels, found = (folder / f"val_batch{batch}_{kind}.jpg" for kind in ("labels", "pred"))
            draw_grid([pair[0] for pair in tiles], labels)
            draw_grid([pair[1] for pair in tiles], found)
            yield from (labels, found)


def _illustrations(folder: Path, figures: list[Path]) -> list[Illustration]:
    data = [path for pattern in DATA_PICTURES for path in sorted(folder.glob(pattern))]
    return [illustrate(path) for path in (*figures, *data)]


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-directory", type=Path, required=True)
    started = time.monotonic()
    files = build_report(RunDirectory(parser.parse_args().run_directory))
    names = ", ".join(path.name for path in files) or "nothing to draw"
    log.info("report in %.1f s: %s", time.monotonic() - started, names)


if __name__ == "__main__":
    main()
