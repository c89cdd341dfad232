"""Which images are shown more often."""

from pathlib import Path

import numpy as np

from masktrain_trainer.data.prepared import Split, save_index
from masktrain_trainer.data.sampler import count_boxes, image_weights

COUNTS_NC = np.array([[2, 0], [1, 1], [1, 0], [0, 0]])
"""Class 0 has four boxes, class 1 has one; the last image shows nothing."""


def test_images_of_rare_classes_weigh_more() -> None:
    np.testing.assert_allclose(image_weights(COUNTS_NC, [0, 0]), np.array([0.5, 1.25, 0.25, 0]) / 2)


def test_classes_that_are_found_well_weigh_less() -> None:
    np.testing.assert_allclose(image_weights(COUNTS_NC, [0.5, 0]), np.array([0.125, 1.0625, 0.0625, 0]) / 1.25)
    np.testing.assert_allclose(image_weights(COUNTS_NC, [0, 1]), np.array([0.5, 0.25, 0.25, 0]))


def test_all_images_are_alike_if_nothing_is_left_to_learn() -> None:
    np.testing.assert_allclose(image_weights(COUNTS_NC, [1, 1]), np.full(4, 0.25))
    np.testing.assert_allclose(image_weights(np.zeros((4, 2), int), [0, 0]), np.full(4, 0.25))


def test_boxes_are_counted_per_image_and_class(tmp_path: Path) -> None:
    rows = [np.array([[0, 0.5, 0.5, 0.1, 0.1]] * 2), np.array([[1, 0.5, 0.5, 0.1, 0.1], [0, 0.2, 0.2, 0.1, 0.1]])]
    index = tmp_path / "train.npz"
    targets = [row.astype(np.float32) for row in rows] + [np.zeros((0, 5), np.float32)]
    sizes_N2 = np.full((3, 2), 64)
    bytes_N = sizes_N2.prod(axis=1) * 3
    save_index(index, slots_N=np.arange(3), sizes_N2=sizes_N2, bytes_N=bytes_N, targets=targets, image_size=64)
    split = Split(images=[], labels=index, cache=tmp_path / "train.pixels")
    np.testing.assert_array_equal(count_boxes(split, 3), [[2, 0, 0], [1, 1, 0], [0, 0, 0]])
