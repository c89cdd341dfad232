"""The document that the report is made of, from a real validation of an untrained model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from masktrain_trainer.config import EvaluationSpec
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.model.loss import DetectionLoss
from masktrain_trainer.report.evaluation import Evaluation
from masktrain_trainer.run_directory import RunDirectory, read_document
from masktrain_trainer.train.distributed import StepConsensus
from masktrain_trainer.train.evaluate_best import PICTURES, evaluate_best
from masktrain_trainer.train.state import Context, TrainingState
from masktrain_trainer.train.validation import Validator
from tests.conftest import fill
from tests.unit.trainer.report.synthetic import IMAGE_SIZE, prepared
from tests.unit.trainer.train.contexts import context as tiny_context
from tests.unit.trainer.train.contexts import state as tiny_state

IMAGES = 10


def evaluated(context: Context, state: TrainingState | None = None) -> Evaluation:
    state = state or tiny_state()
    loss = DetectionLoss(state.model.anchors, context.hyperparameters, image_size=IMAGE_SIZE, num_classes=2)
    evaluate_best(context, state, Validator(context, loss, StepConsensus(context.ranks.control, 1)))
    found = read_document(context.run.evaluation, Evaluation)
    assert found is not None
    return found


@pytest.fixture
def data(tmp_path: Path) -> PreparedDataset:
    return prepared(tmp_path / "data", ["red", "green"], images=IMAGES)


@pytest.fixture
def context(tmp_path: Path, data: PreparedDataset) -> Context:
    return replace(tiny_context(tmp_path, {"imageSize": IMAGE_SIZE, "batchSize": 4, "epochs": 3}), prepared=data)


def test_the_report_gets_scores_curves_pictures_and_settings(context: Context) -> None:
    found = evaluated(context)
    assert [row.name for row in found.classes] == ["red", "green"]
    assert found.overall.images == IMAGES
    assert found.overall.labels == sum(row.labels for row in found.classes) > 0
    assert len(found.pictures) == min(PICTURES, IMAGES)
    assert (found.confidences[0], found.confidences[-1]) == (0, 1)
    for row, curve in zip(found.classes, found.curves, strict=True):
        assert len(curve.precision) == len(curve.recall) == len(found.confidences)
        area = float(np.trapezoid(curve.precision_at_recall, np.linspace(0, 1, 101)))
        assert area == pytest.approx(row.map50, abs=1e-3)
    assert found.settings["hyperparameters.learningRate"] == "0.01"
    assert found.settings["autoAnchor"] == "true"
    facts = {fact.name: fact.value for fact in found.facts}
    assert facts["training split"] == f"{IMAGES} images, {found.overall.labels} boxes"
    assert facts["test split"] == "none"
    assert found.test is None


def test_a_test_split_is_scored_on_its_own(context: Context, tmp_path: Path) -> None:
    other = prepared(tmp_path / "other", ["red", "green"], images=5).train
    found = evaluated(replace(context, prepared=context.prepared.model_copy(update={"test": other})))
    assert found.test is not None
    assert found.test.overall.images == 5
    assert found.test.overall.labels != found.overall.labels
    assert [row.name for row in found.test.classes] == ["red", "green"]


def fact(found: Evaluation, name: str) -> str:
    return next(one.value for one in found.facts if one.name == name)


def test_without_a_fitness_the_report_says_so_and_why(context: Context, tmp_path: Path) -> None:
    found = evaluated(context)
    assert found.fitness_warning is not None
    assert f"no detection matched any of the {found.overall.labels} boxes of the validation split" in (
        found.fitness_warning
    )
    assert fact(found, "epochs") == (
        "0 of at most 3; none had a fitness above 0, best.pt is of epoch 0, counted from 0"
    )
    # The first picture of these shows nothing.
    nothing = prepared(tmp_path / "nothing", ["red", "green"], images=1).train
    bare = evaluated(replace(context, prepared=context.prepared.model_copy(update={"val": nothing})))
    assert bare.fitness_warning is not None
    assert "no picture of the validation split has a box" in bare.fitness_warning


def test_a_fitness_needs_no_warning(context: Context) -> None:
    state = tiny_state()
    state.early_stopping.record(2, 0.25)
    found = evaluated(context, state)
    assert found.fitness_warning is None
    assert fact(found, "epochs") == "0 of at most 3; the best is epoch 2, counted from 0"


def following(context: Context) -> Context:
    """With sample media, for which best.pt is kept."""
    spec = EvaluationSpec(sources=["s3://media/street.mp4"])
    return replace(context, config=context.config.model_copy(update={"evaluation": spec}))


def test_what_follows_gets_best_pt_as_it_will_be(context: Context) -> None:
    context = following(context)
    evaluated(context)
    assert torch.load(context.run.best_model, weights_only=True)["architecture"] == "yolov5n"
    assert not list(context.run.root.glob(".best*"))


def test_a_full_disk_costs_what_follows_and_never_the_training(context: Context, small_disk: Path) -> None:
    context = following(replace(context, run=RunDirectory(small_disk / "run")))
    context.run.create()
    fill(small_disk)
    state = tiny_state()
    loss = DetectionLoss(state.model.anchors, context.hyperparameters, image_size=IMAGE_SIZE, num_classes=2)
    assert evaluate_best(context, state, Validator(context, loss, StepConsensus(context.ranks.control, 1))) is not None
    assert not [path for path in context.run.root.rglob("*") if path.is_file() and path.stat().st_size]
