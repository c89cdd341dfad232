"""What a GPU renders is what a loader process renders. Torch does the same sums on a CPU."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from masktrain_trainer.config import Hyperparameters
from masktrain_trainer.data.augmentation import apply_gains
from masktrain_trainer.data.dataset import Collator, PendingAugmentation, TrainDataset
from masktrain_trainer.data.geometry import BORDER
from masktrain_trainer.data.gpu_augmentation import IMAGES_AT_ONCE, recolour, render_on_device
from masktrain_trainer.data.prepared import PreparedDataset

from .exports import prepared_pictures

CPU = torch.device("cpu")
SIZE = 64
SIZES = [(48, 64), (64, 48), (100, 100), (20, 200), (200, 20), (64, 64), (33, 47), (300, 211)]
COLOURLESS = {"hsv_hue": 0.0, "hsv_saturation": 0.0, "hsv_value": 0.0}

hyperparameters = st.builds(
    Hyperparameters,
    **{name: st.just(value) for name, value in COLOURLESS.items()},
    degrees=st.floats(0, 180),
    translate=st.floats(0, 1),
    scale=st.floats(0, 0.9),
    shear=st.floats(0, 45),
    perspective=st.sampled_from([0.0, 0.0005]),
    flip_vertical=st.floats(0, 1),
    flip_horizontal=st.floats(0, 1),
    mosaic=st.floats(0, 1),
    mixup=st.floats(0, 1),
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    return prepared_pictures(tmp_path_factory.mktemp("prepared"), SIZES, SIZE)


def both(dataset: TrainDataset, epoch: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """A batch (B, 3, H, W) rendered by OpenCV, and the same one by torch."""
    request = epoch, np.arange(count) % len(dataset)
    batches = []
    for render_here in (True, False):
        collator = Collator(dataset, render_here=render_here)
        pixels = np.empty(collator.bytes_for(count), np.uint8)
        batches.append((collator.collate(request, pixels), pixels))
    (rendered, images), (pending, canvases) = batches
    np.testing.assert_array_equal(rendered.targets_M6, pending.targets_M6)
    assert pending.pending is not None
    there = render_on_device(CPU, torch.from_numpy(canvases[: pending.used]), pending.pending, SIZE)
    assert there.is_contiguous(memory_format=torch.channels_last)
    return images.reshape(count, SIZE, SIZE, 3).transpose(0, 3, 1, 2), there.numpy()


def differences(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.abs(one.astype(int) - other)
    return found


@settings(max_examples=60, deadline=None)
@given(values=hyperparameters, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 1000))
def test_any_warp_blend_and_flip(prepared: PreparedDataset, values: Hyperparameters, seed: int, epoch: int) -> None:
    """A pixel that lies just on the edge of an image may fall to either side of it."""
    here, there = both(TrainDataset(prepared, SIZE, values, seed), epoch, len(SIZES))
    assert np.mean(differences(here, there) > 2) < 0.002


def test_more_images_than_are_rendered_at_once(prepared: PreparedDataset) -> None:
    values = Hyperparameters(mixup=0.5, **COLOURLESS)
    here, there = both(TrainDataset(prepared, SIZE, values, 0), 0, 2 * IMAGES_AT_ONCE + 3)
    assert differences(here, there).max() <= 2


def test_colours_too(prepared: PreparedDataset) -> None:
    """Hue is a whole number in between: what is rounded the other way becomes a step of some 256 / 30 levels."""
    here, there = both(TrainDataset(prepared, SIZE, Hyperparameters(), 0), 0, len(SIZES))
    found = differences(here, there)
    assert np.mean(found > 2) < 0.01
    assert np.mean(found > 9) < 0.0005


@pytest.mark.parametrize("gains", [(1, 1, 1), (1.01, 0.5, 1.3), (0.99, 1.7, 0.6), (1.015, 0, 1)])
def test_every_colour(gains: tuple[float, float, float]) -> None:
    levels = np.arange(0, 256, 5).astype(np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    gains_3 = np.array(gains)
    image_13HW = torch.from_numpy(cube).permute(2, 0, 1)[None].float()
    there = recolour(image_13HW, torch.from_numpy(gains_3[None]).float())[0].permute(1, 2, 0)
    assert torch.equal(there, there.round())
    found = differences(apply_gains(cube, gains_3), there.numpy())
    assert np.mean(found > 2) < 0.01
    assert found.max() <= 256 * 6 / 180 + 1, "one step of hue"


def test_a_canvas_that_is_out_of_sight_leaves_grey() -> None:
    away = np.array([[[1.0, 0, 5000], [0, 1, 0], [0, 0, 1]]])
    pending = PendingAugmentation(np.array([[1, 1]]), away, np.ones(1), np.zeros(1, np.int64), None)
    images_BCHW = render_on_device(CPU, torch.tensor([255, 0, 0], dtype=torch.uint8), pending, SIZE)
    assert torch.equal(images_BCHW, torch.full((1, 3, SIZE, SIZE), BORDER, dtype=torch.uint8))


def test_a_horizon_in_the_picture_is_no_accident() -> None:
    """Where the perspective divides by zero there is no pixel, and certainly no NaN."""
    horizon = np.array([[[1.0, 0, 0], [0, 1, 0], [0.02, 0, 1]]])
    canvas = torch.full((SIZE * SIZE * 3,), 200, dtype=torch.uint8)
    pending = PendingAugmentation(
        np.array([[SIZE, SIZE]]), np.linalg.inv(horizon), np.ones(1), np.zeros(1, np.int64), None
    )
    divided = replace(pending, matrices_V33=np.linalg.inv(horizon - [[[0, 0, 0], [0, 0, 0], [0.04, 0, 0]]]))
    for each in (pending, divided):
        assert set(render_on_device(CPU, canvas, each, SIZE).flatten().tolist()) <= set(range(BORDER, 201))
