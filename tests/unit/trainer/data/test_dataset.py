"""Augmented samples."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.augmentation import (
    Region,
    Warp,
    blend,
    lay_tiles,
    paint_mosaic,
    seen_region,
    warp_image,
    warp_matrix,
)
from masktrain_trainer.data.dataset import TrainDataset
from masktrain_trainer.data.prepared import PreparedDataset

from .exports import prepared_pictures

SIZE = 64
SIZES = [(48, 64), (64, 48), (100, 100), (20, 200), (200, 20), (64, 64), (33, 47), (300, 211)]
PLAIN = Hyperparameters(hsv_hue=0, hsv_saturation=0, hsv_value=0, translate=0, scale=0, flip_horizontal=0, mosaic=0)

hyperparameters = st.builds(
    Hyperparameters,
    degrees=st.floats(0, 180),
    translate=st.floats(0, 1),
    scale=st.floats(0, 0.9),
    shear=st.floats(0, 45),
    perspective=st.sampled_from([0.0, 0.0005, 0.001]),
    flip_vertical=st.floats(0, 1),
    flip_horizontal=st.floats(0, 1),
    mosaic=st.floats(0, 1),
    mixup=st.floats(0, 1),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepared_pictures(tmp_path_factory.mktemp("prepared"), SIZES, SIZE)


@settings(max_examples=60, deadline=None)
@given(values=hyperparameters, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 10_000), index=st.integers(0, 7))
def test_boxes_stay_in_the_image(
    prepared: PreparedDataset, values: Hyperparameters, seed: int, epoch: int, index: int
) -> None:
    image, targets = TrainDataset(prepared, SIZE, values, seed).sample(epoch, index)
    assert image.shape == (3, SIZE, SIZE)
    assert image.dtype == np.uint8
    assert targets.shape[1] == 5
    assert targets.dtype == np.float32
    assert set(targets[:, 0]) <= {0.0, 1.0}
    centre, half = targets[:, 1:3], targets[:, 3:] / 2
    assert np.all(half * 2 * SIZE > 1.9)
    assert np.all(centre - half >= -1e-5)
    assert np.all(centre + half <= 1 + 1e-5)


def test_a_sample_depends_on_seed_epoch_and_index_alone(prepared: PreparedDataset) -> None:
    dataset = TrainDataset(prepared, SIZE, Hyperparameters(degrees=10), 5)
    copy: TrainDataset = pickle.loads(pickle.dumps(dataset))
    places = [(epoch, index) for epoch in range(3) for index in range(len(SIZES))]
    first = {place: dataset.sample(*place) for place in places}
    for place in reversed(places):
        for one, other in zip(first[place], copy.sample(*place), strict=True):
            np.testing.assert_array_equal(one, other)
    assert len({image.tobytes() for image, _ in first.values()}) == len(places)


def test_without_augmentation_an_image_is_letterboxed(prepared: PreparedDataset) -> None:
    image, targets = TrainDataset(prepared, SIZE, PLAIN, 0).sample(0, 1)
    np.testing.assert_array_equal(image[:, :, :8], 114)
    np.testing.assert_array_equal(image[:, :, 56:], 114)
    assert not np.any(np.all(image[:, :, 8:56] == 114, axis=0))
    x, _, width, _ = targets[0, 1:]
    assert x - width / 2 >= 8 / 64
    assert x + width / 2 <= 56 / 64


def test_mixup_blends_two_mosaics_and_keeps_the_boxes_of_both(prepared: PreparedDataset) -> None:
    values = Hyperparameters(flip_horizontal=0, hsv_hue=0, hsv_saturation=0, hsv_value=0)
    plain = TrainDataset(prepared, SIZE, values, 0)
    mixed = TrainDataset(prepared, SIZE, values.model_copy(update={"mixup": 1.0}), 0)
    more = 0
    for index in range(len(SIZES)):
        (image, targets), (blended, all_targets) = plain.sample(0, index), mixed.sample(0, index)
        assert not np.array_equal(image, blended)
        np.testing.assert_array_equal(all_targets[: len(targets)], targets)
        more += len(all_targets) - len(targets)
    assert more > 0


def test_mixup_belongs_to_mosaics(prepared: PreparedDataset) -> None:
    values = Hyperparameters(mosaic=0)
    one = TrainDataset(prepared, SIZE, values, 0).sample(0, 1)
    other = TrainDataset(prepared, SIZE, values.model_copy(update={"mixup": 1.0}), 0).sample(0, 1)
    np.testing.assert_array_equal(one[0], other[0])


def test_blending_is_a_weighted_mean() -> None:
    dark, light = np.full((2, 2, 3), 10, np.uint8), np.full((2, 2, 3), 110, np.uint8)
    np.testing.assert_array_equal(blend(dark, light, 0.25), np.full((2, 2, 3), 85, np.uint8))


def test_another_size_than_prepared_is_refused(prepared: PreparedDataset) -> None:
    with pytest.raises(ValueError, match="prepared for 64 px, not for 128 px"):
        TrainDataset(prepared, 128, PLAIN, 0)


warps = st.builds(
    Warp,
    perspective_x=st.sampled_from([0.0, 0.001, -0.001]),
    angle=st.floats(-180, 180),
    scale=st.floats(0.1, 1.9),
    shear_x=st.floats(-30, 30),
    translate_x=st.floats(-0.2, 1.2),
    translate_y=st.floats(-0.2, 1.2),
)


@settings(max_examples=60, deadline=None)
@given(warp=warps, x=st.integers(32, 96), y=st.integers(32, 96))
def test_painting_what_is_seen_equals_painting_everything(warp: Warp, x: int, y: int) -> None:
    """Closely: older versions of OpenCV round positions to 1/32 pixel, from another origin."""
    ramp = np.linspace(0, 200, SIZE).astype(np.uint8)
    images = [
        np.repeat(np.broadcast_to(ramp + offset, (SIZE, SIZE))[..., None], 3, axis=2) for offset in (0, 9, 18, 27)
    ]
    canvas, output = (2 * SIZE, 2 * SIZE), (SIZE, SIZE)
    tiles = lay_tiles([output] * 4, (x, y), SIZE)
    matrix = warp_matrix(warp, canvas, output)
    seen = seen_region(matrix, output, canvas)
    to_canvas = np.array([[1.0, 0, seen.left], [0, 1, seen.top], [0, 0, 1]])
    part = warp_image(paint_mosaic(images, tiles, seen), matrix @ to_canvas, output)
    whole = warp_image(paint_mosaic(images, tiles, Region(0, 0, *canvas)), matrix, output)
    assert np.mean(np.abs(part.astype(int) - whole) > 2) < 0.002
