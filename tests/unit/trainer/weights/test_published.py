"""The table of checkpoints against the models that are built here."""

import json

import pytest
from click.testing import CliRunner

from masktrain_trainer.cli.main import main
from masktrain_trainer.config import Architecture
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.weights.sources import PUBLISHED, PublishedCheckpoint

SMALL = [checkpoint for checkpoint in PUBLISHED if checkpoint.parameters < 15_000_000]


def test_every_architecture_is_listed_once() -> None:
    assert [checkpoint.architecture for checkpoint in PUBLISHED] == list(Architecture)


@pytest.mark.parametrize("checkpoint", SMALL, ids=lambda checkpoint: checkpoint.architecture.value)
def test_parameters_are_those_of_the_model(checkpoint: PublishedCheckpoint) -> None:
    model = build_yolo(checkpoint.architecture, 80)
    assert sum(parameter.numel() for parameter in model.parameters()) == checkpoint.parameters


def test_the_table_and_its_document() -> None:
    table = CliRunner().invoke(main, ["models"]).output
    rows = json.loads(CliRunner().invoke(main, ["models", "--json"]).output)
    assert len(rows) == 10
    assert rows[1]["weights"] == "https://github.com/ultralytics/yolov5/releases/download/v7.0/yolov5s.pt"
    assert all(row["architecture"] in table and str(row["mAP50_95"]) in table for row in rows)
