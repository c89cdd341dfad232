"""What is drawn before a training: its boxes and its first batches."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from masktrain_trainer.config import TrainingSpec
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.loader import TrainLoader
from masktrain_trainer.report.data_pictures import box_statistics, draw_data_pictures, first_batches
from tests.unit.trainer.report.synthetic import HOSTILE, IMAGE_SIZE, class_names, prepared, training

FILES = ["labels.png", "train_batch0.jpg", "train_batch1.jpg", "train_batch2.jpg"]


@pytest.mark.parametrize("names", [class_names(1), class_names(3), class_names(80), HOSTILE], ids=len)
def test_boxes_and_first_batches_are_drawn(tmp_path: Path, names: list[str]) -> None:
    drawn = draw_data_pictures(prepared(tmp_path / "data", names), training(), tmp_path)
    assert [path.name for path in drawn] == FILES
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == FILES
    with Image.open(tmp_path / "train_batch0.jpg") as grid:
        assert grid.size == (1600, 1600)


def test_a_set_of_one_image_and_no_box_is_drawn_too(tmp_path: Path) -> None:
    drawn = draw_data_pictures(prepared(tmp_path / "data", ["mask"], images=1), training(), tmp_path)
    assert [path.name for path in drawn] == FILES[:2]


@pytest.mark.parametrize("settings", [{}, {"image_weights": True}, {"batch_size": 4}, {"seed": 7}])
def test_the_batches_are_those_that_training_begins_with(tmp_path: Path, settings: dict[str, int]) -> None:
    data = prepared(tmp_path, class_names(3))
    spec = TrainingSpec.model_validate({"image_size": IMAGE_SIZE, **settings})
    shown = first_batches(data, spec)
    assert len(shown) == 3
    if not spec.image_weights:
        dataset = TrainDataset(data, IMAGE_SIZE, spec.hyperparameters, spec.seed)
        batches = TrainLoader(dataset, batch_size=spec.batch_size).batches(0)
        trained = [next(batches).indices_B.numpy() for _ in range(3)]
        np.testing.assert_array_equal(np.stack(shown), np.stack(trained))
    else:
        assert all(index % 8 for index in np.concatenate(shown)), "images without boxes are never shown"


def test_sizes_are_those_of_the_training_image(tmp_path: Path) -> None:
    data = prepared(tmp_path, class_names(3), images=2)
    boxes = box_statistics(data.train, 640)
    height, width = data.train.images[1].height * 2, 640
    expected = np.sqrt(boxes.xywh_M4[:, 2] * width * boxes.xywh_M4[:, 3] * height)
    np.testing.assert_allclose(boxes.sides_M, expected, rtol=1e-5)
    assert boxes.per_image_N.tolist() == [0, len(boxes.classes_M)]
