"""What advice is based on."""

from pathlib import Path

import numpy as np
import pytest

from masktrain_trainer.data.prepared import CachedImages, training_statistics

from .exports import prepared_pictures


def test_boxes_are_measured_against_the_longer_side_of_their_picture(tmp_path: Path) -> None:
    prepared = prepared_pictures(tmp_path, [(50, 100), (300, 150)], 64)
    ((_, _, _, width, height),) = CachedImages(prepared.train.labels, prepared.train.cache).targets(1)
    found = training_statistics(prepared)
    assert (found.names, found.boxes_per_class) == (("cat", "dog"), (0, 1))
    assert found.mean_longer_side == pytest.approx(200)
    np.testing.assert_allclose(found.relative_sides_M2, [[width * 150 / 300, height * 300 / 300]])


def test_the_share_of_small_boxes_depends_on_the_image_size(tmp_path: Path) -> None:
    found = training_statistics(prepared_pictures(tmp_path, [(64, 64)] * 4, 64))
    assert len(found.relative_sides_M2) == 6
    assert found.share_below(8, 10_000) == 0
    assert found.share_below(8, 1) == 1
