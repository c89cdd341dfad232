"""Draw the report of a finished training: a process of its own, so that a failing plot cannot cost a result.

report.html is one file that needs no other, with every figure, its section, its caption and words for those who do not
see it.
"""

import argparse
import base64
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from masktrain_trainer.checkpoint.keys import DATA_PICTURES
from masktrain_trainer.files import write_text_atomically
from masktrain_trainer.run_directory import ExportResult, RunDirectory, read_document

from .evaluation import ClassScores, Evaluation
from .pictures import GRID, draw_grid, evaluated_tiles
from .plots import draw_confusion, draw_curves, draw_results, figure_names
from .tables import parse_results, write_per_class

RESULTS, CURVES, CONFUSION, PREDICTIONS, DATA = (
    "Training",
    "Precision and recall",
    "Confusion matrix",
    "Validation pictures",
    "Training data",
)
SECTIONS = (RESULTS, CURVES, CONFUSION, PREDICTIONS, DATA)

_FIGURES = {
    "results": (RESULTS, "Losses and metrics after every epoch.", "Ten line charts of losses and metrics over epochs"),
    "PR_curve": (
        CURVES,
        "Precision over recall at IoU 0.5: the area under a class's line is its AP50.",
        "Line chart of precision over recall for each class",
    ),
    "F1_curve": (
        CURVES,
        "F1 over the confidence threshold: the peak of the mean is a good threshold to detect with.",
        "Line chart of F1 over the confidence threshold for each class",
    ),
    "P_curve": (
        CURVES,
        "How many detections are right, over the confidence threshold.",
        "Line chart of precision over the confidence threshold for each class",
    ),
    "R_curve": (
        CURVES,
        "How many objects are found, over the confidence threshold.",
        "Line chart of recall over the confidence threshold for each class",
    ),
    "confusion_matrix": (
        CONFUSION,
        "What the objects of each class (a column) are taken for, at confidence 0.25 and IoU 0.45; bottom row: missed.",
        "Matrix of predicted classes over true classes, each column in shares of one",
    ),
    "labels": (
        DATA,
        "Boxes of each class, where they lie, how large they are, and how many an image has.",
        "Bar chart of boxes in each class, and charts of the boxes' positions, sizes and number in an image",
    ),
}
_WIDE = {"results", "labels", "confusion_matrix"}
_BATCHES = {
    ("val", "labels"): (PREDICTIONS, "Batch {}: labels.", "Grid of validation pictures with their labelled boxes"),
    ("val", "pred"): (
        PREDICTIONS,
        "Batch {}: predictions with their confidence.",
        "Grid of the same validation pictures with the boxes that the model found",
    ),
    ("train", ""): (
        DATA,
        "Batch {} of the first epoch, augmented as the model sees it.",
        "Grid of augmented training pictures with their boxes",
    ),
}


@dataclass(frozen=True)
class Illustration:
    path: Path
    section: str
    caption: str
    alternative: str

    @property
    def wide(self) -> bool:
        """Whether it holds too many panels to stand beside another."""
        return self.path.stem in _WIDE

    @property
    def source(self) -> str:
        """A data URI."""
        kind = "jpeg" if self.path.suffix == ".jpg" else "png"
        return f"data:image/{kind};base64,{base64.b64encode(self.path.read_bytes()).decode('ascii')}"


def illustrate(path: Path) -> Illustration:
    """By the file's name, which is one of the report's."""
    if path.stem in _FIGURES:
        return Illustration(path, *_FIGURES[path.stem])
    split, _, rest = path.stem.partition("_batch")
    number, _, kind = rest.partition("_")
    section, caption, alternative = _BATCHES[split, kind]
    return Illustration(path, section, caption.format(number), f"{alternative}, batch {number}")


_TEMPLATE = "report.html.j2"


def render_report(
    evaluation: Evaluation, illustrations: Sequence[Illustration], exported: ExportResult | None = None
) -> str:
    """The page; `illustrations` stand in their sections in the given order."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        # Names of classes, files and jobs are other people's text.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["scores"] = _scores
    sections = {name: [figure for figure in illustrations if figure.section == name] for name in SECTIONS}
    return environment.get_template(_TEMPLATE).render(
        evaluation=evaluation,
        exported=exported,
        sections={name: figures for name, figures in sections.items() if figures},
    )


def _scores(row: ClassScores) -> list[str]:
    """A class without labels has none."""
    numbers = (row.precision, row.recall, row.map50, row.map50_95)
    return [f"{number:.3f}" if row.labels else "–" for number in numbers]


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
    exported = read_document(run.export_result, ExportResult)
    page = render_report(evaluation, _illustrations(run.artifacts, figures), exported)
    write_text_atomically(report, page)
    return [*figures, table, report]


def _draw_results(run: RunDirectory, evaluation: Evaluation | None) -> Iterator[Path]:
    results = run.artifacts / "results.csv"
    if results.exists():
        figure = run.artifacts / "results.png"
        best_epoch = evaluation.epoch if evaluation and not evaluation.fitness_warning else None
        draw_results(parse_results(results.read_text(encoding="utf-8")), figure, best_epoch)
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
