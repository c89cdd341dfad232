"""Objects that are labelled with polygons, from the label file to the sample."""

from pathlib import Path

import numpy as np
import pytest

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.augmentation import Warp, place_outlines, warp_boxes, warp_matrix, warp_outlines
from masktrain_trainer.data.dataset import TrainDataset, warped_targets
from masktrain_trainer.data.prepared import CachedImages, PreparedDataset
from masktrain_trainer.data.source.verify import verify_split

from .exports import picture, unpacked

SIZE = 64
DIAMOND = np.array([[0.5, 0.2], [0.8, 0.5], [0.5, 0.8], [0.2, 0.5]])
DIAMOND_ROW = "0 " + " ".join(map(str, DIAMOND.ravel()))
STILL = Hyperparameters(
    hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0, mosaic=0, degrees=0
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """A diamond as a polygon, one as a box, and a picture with both."""
    root = tmp_path_factory.mktemp("prepared")
    box_row = "1 0.5 0.5 0.6 0.6"
    rows = [DIAMOND_ROW, box_row, f"{box_row}\n{DIAMOND_ROW}"]
    for index, text in enumerate(rows):
        unpacked(root / "export", {f"images/{index}.jpg": picture(index, height=SIZE, width=SIZE)})
        unpacked(root / "export", {f"labels/{index}.txt": text})
    images = [(root / "export" / "images" / f"{index}.jpg").resolve() for index in range(3)]
    split = verify_split(
        "train",
        images,
        root=root / "export",
        output=root,
        classes=2,
        image_size=SIZE,
        processes=1,
        say=lambda _: None,
    ).split
    return PreparedDataset(names=["diamond", "square"], image_size=SIZE, train=split, val=split)


def test_the_cache_keeps_outlines(prepared: PreparedDataset) -> None:
    images = CachedImages(prepared.train.labels, prepared.train.cache)
    assert images.has_outlines
    assert [[len(outline) for outline in images.outlines(index)] for index in range(3)] == [[4], [0], [0, 4]]
    np.testing.assert_allclose(images.outlines(0)[0], DIAMOND, atol=1e-6)


def test_a_rotated_diamond_gets_a_tight_box(prepared: PreparedDataset) -> None:
    """Rotated by 45 degrees it stands square: as wide as its side, not as the box around its corners."""
    matrix = warp_matrix(Warp(angle=45), (SIZE, SIZE), (SIZE, SIZE))
    outline = place_outlines([DIAMOND], width=SIZE, height=SIZE, pad_x=0, pad_y=0)
    side = 0.6 * SIZE / np.sqrt(2)
    tight_4 = warp_outlines(outline, matrix, (SIZE, SIZE))[0]
    np.testing.assert_allclose(tight_4[2:] - tight_4[:2], side, atol=0.1)
    around_4 = warp_boxes(np.array([[0.2, 0.2, 0.8, 0.8]]) * SIZE, matrix, (SIZE, SIZE))[0]
    np.testing.assert_allclose(around_4[2:] - around_4[:2], 2 * side, atol=0.1)


@pytest.mark.parametrize("mosaic", [0.0, 1.0])
def test_samples_follow_the_outlines_and_boxes_go_by_their_corners(prepared: PreparedDataset, mosaic: float) -> None:
    turned = STILL.model_copy(update={"degrees": 180.0, "mosaic": mosaic})
    dataset = TrainDataset(prepared, SIZE, turned, 0)
    sides = {0: [], 1: []}  # type: dict[int, list[float]]
    for epoch in range(40):
        _, targets_N5 = dataset.sample(epoch, 2)
        for label, x, y, width, height in targets_N5.tolist():
            if min(x - width / 2, y - height / 2) > 0.001 and max(x + width / 2, y + height / 2) < 0.998:
                sides[int(label)].append(width)
    assert 0.41 < min(sides[0]) < max(sides[0]) < 0.61
    assert 0.59 < min(sides[1]) < max(sides[1]) < 0.86


def test_what_leaves_the_image_is_dropped() -> None:
    boxes_N5 = np.array([[0, 100, 100, 120, 120], [1, 10, 10, 30, 30]], float)
    outlines = [np.array([[100, 100], [120, 110], [100, 120]], float), np.zeros((0, 2))]
    targets_N5 = warped_targets(boxes_N5, np.eye(3), 1.0, (SIZE, SIZE), outlines)
    assert targets_N5[:, 0].tolist() == [1]


def test_data_sets_of_boxes_pay_nothing(tmp_path: Path) -> None:
    unpacked(tmp_path, {"images/0.jpg": picture(0, height=SIZE, width=SIZE), "labels/0.txt": "0 .5 .5 .2 .2"})
    image = (tmp_path / "images" / "0.jpg").resolve()
    split = verify_split(
        "train",
        [image],
        root=tmp_path,
        output=tmp_path,
        classes=1,
        image_size=SIZE,
        processes=1,
        say=lambda _: None,
    ).split
    assert not CachedImages(split.labels, split.cache).has_outlines
