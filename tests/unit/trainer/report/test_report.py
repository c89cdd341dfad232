"""The report of a finished training, from nothing but the files that the worker leaves."""

import csv
import logging
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import html5lib
import numpy as np
import pytest
from PIL import Image

from masktrain_trainer.predict.drawing import LabelledBox, class_colour, draw_boxes
from masktrain_trainer.report import build
from masktrain_trainer.report.build import build_report, render_report
from masktrain_trainer.report.evaluation import Evaluation
from masktrain_trainer.report.pictures import evaluated_tiles
from masktrain_trainer.report.plots import LONGEST_NAME, figure_names, figure_text, smooth
from masktrain_trainer.report.tables import write_per_class
from masktrain_trainer.run_directory import RunDirectory, read_document
from tests.unit.trainer.report.synthetic import HOSTILE, class_names, evaluation, finished_run

PNG = {"results.png", "confusion_matrix.png", "PR_curve.png", "F1_curve.png", "P_curve.png", "R_curve.png"}
XHTML = "{http://www.w3.org/1999/xhtml}"


def parsed(html: str) -> Any:
    """The tree. Raises for whatever a validating parser has to forgive."""
    return html5lib.HTMLParser(strict=True).parse(html)


def table(tree: Any, number: int) -> list[list[str]]:
    """Body rows of the n-th table."""
    rows = list(tree.iter(f"{XHTML}tbody"))[number].iter(f"{XHTML}tr")
    return [["".join(cell.itertext()) for cell in row] for row in rows]


def source(run: RunDirectory) -> Evaluation:
    found = read_document(run.evaluation, Evaluation)
    assert found is not None
    return found


def drawn(folder: Path, names: Sequence[str], pictures: int = 2) -> tuple[RunDirectory, str]:
    run = finished_run(folder, names, pictures=pictures)
    build_report(run)
    return run, (run.artifacts / "report.html").read_text(encoding="utf-8")


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


Report = tuple[RunDirectory, str]


@pytest.fixture(scope="module", params=[1, 3, 80])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    """The run and the page for so many classes."""
    return drawn(tmp_path_factory.mktemp("report"), class_names(request.param))


def test_every_figure_is_drawn_and_embedded(report: Report) -> None:
    run, html = report
    pictures = {"val_batch0_labels.jpg", "val_batch0_pred.jpg"}
    files = {path.name for path in run.artifacts.iterdir()}
    assert files == {"results.csv", "per_class.csv", "report.html"} | PNG | pictures
    images = [*parsed(html).iter(f"{XHTML}img")]
    assert len(images) == len(PNG | pictures)
    assert all(image.get("src").startswith("data:image/") and image.get("alt") for image in images)


def test_figures_have_a_size_that_people_can_open(report: Report) -> None:
    sides = [side for path in report[0].artifacts.glob("*.png") for side in size(path)]
    assert all(400 <= side <= 1700 for side in sides)


def test_nothing_is_fetched_or_run(report: Report) -> None:
    _, html = report
    tree = parsed(html)
    assert not [*tree.iter(f"{XHTML}script")]
    assert not [*tree.iter(f"{XHTML}link")]
    assert not re.search(r"(?:src|href)=(?!\"data:image/)", html)
    assert "url(" not in html


def test_the_page_has_a_language_headings_and_both_colour_schemes(report: Report) -> None:
    _, html = report
    tree = parsed(html)
    assert tree.get("lang") == "en"
    assert len([*tree.iter(f"{XHTML}h1")]) == 1
    headings = ["".join(heading.itertext()) for heading in tree.iter(f"{XHTML}h2")]
    assert headings[:3] == ["What was trained", "Advice", "Scores"]
    assert headings[-1] == "Settings in force"
    assert "prefers-color-scheme: dark" in html
    assert "width=device-width" in html


def test_tables_show_the_metrics(report: Report) -> None:
    run, html = report
    found = source(run)
    assert found.test is not None
    both, validation, test = (table(parsed(html), number) for number in range(3))
    assert [row[1] for row in both] == ["validation", "test"]
    for shown, rows in ((validation, found.classes), (test, found.test.classes)):
        assert shown == [
            [
                str(index),
                row.name,
                str(row.images),
                str(row.labels),
                *(f"{value:.3f}" for value in (row.precision, row.recall, row.map50, row.map50_95)),
            ]
            for index, row in enumerate(rows)
        ]
    assert both[0][-1] == f"{found.overall.map50_95:.3f}"
    assert both[1][-1] == f"{found.test.overall.map50_95:.3f}"


def test_the_table_for_scripts_has_all_splits(tmp_path: Path) -> None:
    run = finished_run(tmp_path, HOSTILE, pictures=0)
    write_per_class(source(run), run.artifacts / "per_class.csv")
    found = source(run)
    assert found.test is not None
    with (run.artifacts / "per_class.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["split"] for row in rows] == ["val"] * 13 + ["test"] * 13
    assert [row["name"] for row in rows[:13]] == ["all", *HOSTILE]
    expected = [found.overall, *found.classes, found.test.overall, *found.test.classes]
    assert [float(row["mAP50-95"]) for row in rows] == pytest.approx([row.map50_95 for row in expected], rel=1e-4)


def test_a_class_without_labels_has_no_scores() -> None:
    some = evaluation(class_names(3), test=False)
    absent = some.classes[1].model_copy(update={"labels": 0, "precision": 0.0, "recall": 0.0})
    html = render_report(some.model_copy(update={"classes": [some.classes[0], absent, some.classes[2]]}), [])
    assert table(parsed(html), 1)[1][-4:] == ["–"] * 4


def test_without_a_test_split_there_is_no_row_for_it() -> None:
    html = render_report(evaluation(class_names(3), test=False), [])
    assert [row[1] for row in table(parsed(html), 0)] == ["validation"]


def test_names_are_shown_and_never_obeyed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        _, html = drawn(tmp_path, HOSTILE, pictures=16)
    assert not caplog.records, "fonts warn about what they cannot draw"
    tree = parsed(html)
    assert not [*tree.iter(f"{XHTML}script")]
    assert [row[1] for row in table(tree, 1)] == [name.replace("\r", "") for name in HOSTILE]
    assert "49" not in [row[1] for row in table(tree, 1)]


def test_titles_advice_facts_and_settings_are_escaped() -> None:
    found = evaluation(["mask"], test=False)
    evil = "</title><script>alert(1)</script>"
    fact = found.facts[0].model_copy(update={"value": evil})
    changed = {"title": evil, "advice": [evil], "facts": [fact], "settings": {evil: evil}}
    tree = parsed(render_report(found.model_copy(update=changed), []))
    assert not [*tree.iter(f"{XHTML}script")]
    assert "".join(next(tree.iter(f"{XHTML}h1")).itertext()) == evil


def test_figures_call_classes_what_their_font_can_draw() -> None:
    assert figure_names(["mask", "口罩", "كمامة", "café", "two\nlines", "", "\u200b"]) == [
        "mask",
        "class 1",
        "class 2",
        "café",
        "two lines",
        "class 5",
        "class 6",
    ]
    assert all(len(name) <= LONGEST_NAME for name in figure_names(HOSTILE))
    assert figure_text("口罩-1.jpg", 5) == "??-1…"


def test_pictures_that_are_gone_are_left_out(tmp_path: Path) -> None:
    run = finished_run(tmp_path, class_names(3), pictures=2)
    gone, left = source(run).pictures
    Path(gone.path).unlink()
    assert len(evaluated_tiles([gone, left], class_names(3))) == 1


def test_the_surest_prediction_hides_the_others_and_not_the_reverse(tmp_path: Path) -> None:
    shown = source(finished_run(tmp_path, ["mask"], pictures=1)).pictures[0]
    boxes = [shown.labels[0].model_copy(update={"confidence": confidence}) for confidence in (0.9, 0.3, 0.6)]
    [(_, found)] = evaluated_tiles([shown.model_copy(update={"predictions": boxes})], ["mask"])
    assert [box.text for box in found.boxes] == ["mask 0.30", "mask 0.60", "mask 0.90"]


def test_a_run_without_results_has_an_empty_report(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path / "run")
    run.create()
    assert build_report(run) == []


def test_smoothing_keeps_constants() -> None:
    assert smooth([2.0] * 7) == pytest.approx([2.0] * 7)


def test_neighbouring_classes_look_different() -> None:
    colours = [np.array(class_colour(index)) for index in range(20)]
    assert all(np.abs(a - b).sum() > 100 for a, b in pairwise(colours))


@pytest.mark.parametrize("xyxy", [(0, 0, 10, 10), (90, 45, 300, 300), (50, 30, 40, 20), (-20, -20, 500, 500)])
def test_boxes_beyond_the_picture_are_drawn_as_far_as_it_goes(xyxy: tuple[float, float, float, float]) -> None:
    picture = np.zeros((50, 100, 3), np.uint8)
    boxed = draw_boxes(picture, [LabelledBox(xyxy, 0, "mask 0.90")])
    assert boxed.shape == picture.shape
    assert boxed.any()
    assert not picture.any()


@pytest.mark.parametrize(("warning", "marked"), [(None, 71), ("No epoch had a <fitness>.", None)])
def test_without_a_fitness_no_epoch_is_marked_as_the_best(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warning: str | None, marked: int | None
) -> None:
    run = finished_run(tmp_path, ["mask"], pictures=0)
    evaluated = evaluation(["mask"]).model_copy(update={"fitness_warning": warning})
    run.evaluation.write_text(evaluated.to_json(), encoding="utf-8")
    drawn_for: list[int | None] = []

    def draw(_: object, path: Path, best_epoch: int | None) -> None:
        drawn_for.append(best_epoch)
        Image.new("RGB", (8, 8)).save(path)

    monkeypatch.setattr(build, "draw_results", draw)
    build_report(run)
    html = (run.artifacts / "report.html").read_text(encoding="utf-8")
    assert drawn_for == [marked]
    assert ('class="warning"' in html) == (warning is not None)
    assert warning is None or "No epoch had a &lt;fitness&gt;." in html
    parsed(html)
