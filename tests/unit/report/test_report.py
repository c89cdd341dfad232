"""The report of a finished training, from nothing but the files that the worker leaves."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masktrain_trainer.detect.draw import LabelledBox, class_colour, draw_boxes
from masktrain_trainer.report.build import build_report
from masktrain_trainer.report.evaluation import ClassScores, EvaluatedPicture, Evaluation, PictureBox
from masktrain_trainer.report.plots import smooth
from masktrain_trainer.train.results_csv import EpochResult, append
from masktrain_trainer.train.run_directory import RunDirectory, write_atomically


def scores(name: str) -> ClassScores:
    return ClassScores(name=name, images=2, labels=3, precision=0.5, recall=0.4, map50=0.45, map50_95=0.2)


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    run = RunDirectory(tmp_path / "run")
    run.create()
    picture = tmp_path / "a picture.png"
    Image.new("RGB", (200, 100), "grey").save(picture)
    box = PictureBox(class_index=1, xyxy=(10, 20, 90, 80))
    found = box.model_copy(update={"confidence": 0.8})
    evaluation = Evaluation(
        title="team/<masks>",
        architecture="yolov5n",
        image_size=64,
        epoch=1,
        epochs_trained=2,
        stopped_early=True,
        overall=scores("all"),
        classes=[scores("mask"), scores("no mask é")],
        confusion=[[3, 0, 1], [0, 2, 0], [1, 1, 0]],
        pictures=[EvaluatedPicture(name="a", path=str(picture), labels=[box], predictions=[found])] * 5,
    )
    write_atomically(run.evaluation, evaluation.to_json())
    return run


def test_everything_is_drawn_and_embedded(run: RunDirectory) -> None:
    text = ""
    for epoch in range(3):
        text = append(text, EpochResult(epoch, (1, 2, 3), 0.1, 0.2, 0.3, 0.1, (1, 2, 3), (0.1, 0.01, 0.01)))
    (run.artifacts / "results.csv").write_text(text)
    build_report(run)
    names = {path.name for path in run.artifacts.iterdir()}
    drawn = {"results.png", "confusion_matrix.png", "val_labels.jpg", "val_predictions.jpg"}
    assert names == {"results.csv", "report.html"} | drawn
    html = (run.artifacts / "report.html").read_text()
    assert html.count("data:image/") == len(drawn)
    assert "team/&lt;masks&gt;" in html
    assert "stopped early" in html
    assert 'src="http' not in html


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
    drawn = draw_boxes(picture, [LabelledBox(xyxy, 0, "mask 0.90")])
    assert drawn.shape == picture.shape
    assert drawn.any()
    assert not picture.any()
