"""Draw the report of a finished training: a process of its own, so that a failing plot cannot cost a result."""

import argparse
import logging
from pathlib import Path

from masktrain_trainer.train.results_csv import parse
from masktrain_trainer.train.run_directory import RunDirectory, read_document

from .evaluation import Evaluation
from .html import render_report
from .pictures import draw_grid
from .plots import draw_confusion, draw_results

log = logging.getLogger(__name__)


def build_report(run: RunDirectory) -> list[Path]:
    """Write every figure the run has material for, and report.html around them; returns the figures."""
    evaluation = read_document(run.evaluation, Evaluation)
    results = run.artifacts / "results.csv"
    figures: list[tuple[str, Path]] = []
    if results.exists():
        figures.append(("Training", run.artifacts / "results.png"))
        draw_results(parse(results.read_text(encoding="utf-8")), figures[-1][1])
    if evaluation is not None:
        figures += _draw_evaluation(evaluation, run.artifacts)
        report = render_report(evaluation, figures)
        (run.artifacts / "report.html").write_text(report, encoding="utf-8")
    return [path for _, path in figures]


def _draw_evaluation(evaluation: Evaluation, folder: Path) -> list[tuple[str, Path]]:
    names = [scores.name for scores in evaluation.classes]
    figures = []
    if evaluation.confusion:
        figures.append(("Confusion matrix", folder / "confusion_matrix.png"))
        draw_confusion(evaluation.confusion, names, figures[-1][1])
    if evaluation.pictures:
        truth, found = folder / "val_labels.jpg", folder / "val_predictions.jpg"
        draw_grid(evaluation.pictures, names, truth, labels=True)
        draw_grid(evaluation.pictures, names, found, labels=False)
        figures += [("Validation pictures: labels", truth), ("Validation pictures: predictions", found)]
    return figures


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run-directory", type=Path, required=True)
    figures = build_report(RunDirectory(parser.parse_args().run_directory))
    log.info("report: %s", ", ".join(path.name for path in figures) or "nothing to draw")


if __name__ == "__main__":
    main()
