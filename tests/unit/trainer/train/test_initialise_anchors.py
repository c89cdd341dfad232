"""Anchors are fitted to the data set where its boxes need it, and only there."""

from pathlib import Path

import numpy as np
import pytest
import torch

from masktrain_trainer.config import Architecture, TrainingSpec
from masktrain_trainer.data.prepared import ImageRecord, PreparedDataset, Split, save_index, training_statistics
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.train.distributed import Ranks
from masktrain_trainer.train.initialise import autoanchor

ALONE = Ranks(0, 0, 1, 1, torch.device("cpu"))
SIZE = 640


def prepared(folder: Path, side_px: float, boxes: int = 50) -> PreparedDataset:
    """One image, twice as wide as high, with boxes of about `side_px` at 640 px."""
    sides_N2 = np.random.default_rng(0).normal(side_px, side_px / 10, (boxes, 2)) / (SIZE, SIZE / 2)
    targets_N5 = np.column_stack([np.zeros(boxes), np.full((boxes, 2), 0.5), sides_N2]).astype(np.float32)
    sizes_N2 = np.array([[SIZE // 2, SIZE]])
    save_index(
        folder / "train.npz",
        slots_N=np.array([0]),
        sizes_N2=sizes_N2,
        bytes_N=sizes_N2.prod(axis=1) * 3,
        targets=[targets_N5],
        image_size=SIZE,
    )
    image = ImageRecord(name="a.jpg", path=folder / "a.jpg", height=600, width=1200)
    split = Split(images=[image], labels=folder / "train.npz", cache=folder / "train.pixels")
    return PreparedDataset(names=["a"], image_size=SIZE, train=split, val=split)


@pytest.fixture
def model() -> Yolo:
    return build_yolo(Architecture.YOLOV5N, 1)


def test_sides_are_those_of_the_training_image(tmp_path: Path) -> None:
    sides_N2 = training_statistics(prepared(tmp_path, 50)).sides_at(SIZE)
    np.testing.assert_allclose(sides_N2.mean(axis=0), 50, rtol=0.05)


def test_anchors_that_suit_the_boxes_stay(tmp_path: Path, model: Yolo) -> None:
    before = model.anchors.clone()
    autoanchor(model, prepared(tmp_path, 50), TrainingSpec(), ALONE)
    assert torch.equal(model.anchors, before)


def test_anchors_that_miss_boxes_are_replaced(tmp_path: Path, model: Yolo) -> None:
    autoanchor(model, prepared(tmp_path, 2.3), TrainingSpec(), ALONE)
    pixels = model.anchors * torch.tensor(model.strides).view(-1, 1, 1)
    assert float(pixels.max()) < 4
    areas = pixels.prod(dim=2).flatten()
    assert torch.equal(areas, areas.sort().values), "small anchors belong to the fine levels"


def test_the_choice_depends_on_the_seed_alone(tmp_path: Path) -> None:
    found = []
    for seed in (1, 1, 2):
        model = build_yolo(Architecture.YOLOV5N, 1)
        autoanchor(model, prepared(tmp_path, 2.3), TrainingSpec(seed=seed), ALONE)
        found.append(model.anchors)
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_too_few_boxes_change_nothing(tmp_path: Path, model: Yolo) -> None:
    before = model.anchors.clone()
    autoanchor(model, prepared(tmp_path, 2.3, boxes=3), TrainingSpec(), ALONE)
    assert torch.equal(model.anchors, before)
