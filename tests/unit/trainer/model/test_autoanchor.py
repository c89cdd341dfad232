"""Fitting anchors to boxes."""

import numpy as np
import pytest

from masktrain_trainer.model.autoanchor import closeness, fit_anchors, jittered, measure
from masktrain_trainer.model.graph import P5

DEFAULT_A2 = np.array(P5.anchors_px, float).reshape(-1, 2)
SMALL_N2 = np.random.default_rng(0).lognormal(1.2, 0.4, (400, 2)) + 1
"""Boxes of a few pixels: most default anchors are far too large for them."""


def test_fitted_anchors_recall_what_the_default_ones_miss() -> None:
    fitted_A2 = fit_anchors(SMALL_N2, 9, 4.0, seed=0, generations=100)
    assert not measure(DEFAULT_A2, SMALL_N2, 4.0).suffices
    assert measure(fitted_A2, SMALL_N2, 4.0).suffices


def test_evolution_makes_them_match_more_closely() -> None:
    start, evolved = (fit_anchors(SMALL_N2, 9, 4.0, seed=0, generations=rounds) for rounds in (0, 200))
    assert closeness(evolved, SMALL_N2, 4.0) > closeness(start, SMALL_N2, 4.0)


def test_the_same_seed_gives_the_same_anchors() -> None:
    one, same, other = (fit_anchors(SMALL_N2, 9, 4.0, seed=seed, generations=20) for seed in (3, 3, 4))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)


def test_anchors_go_from_small_to_large() -> None:
    areas = fit_anchors(SMALL_N2, 9, 4.0, seed=0, generations=20).prod(axis=1)
    assert np.all(np.diff(areas) >= 0)


def test_boxes_all_alike_are_no_trouble() -> None:
    fitted_A2 = fit_anchors(np.full((50, 2), 12.0), 9, 4.0, seed=0, generations=5)
    assert measure(fitted_A2, np.full((50, 2), 12.0), 4.0).recall == 1


def test_fewer_boxes_than_anchors_cannot_be_fitted() -> None:
    with pytest.raises(ValueError, match="8 boxes are too few to fit 9 anchors to"):
        fit_anchors(SMALL_N2[:8], 9, 4.0, seed=0)


def test_jitter_keeps_the_aspect() -> None:
    sides_N2 = jittered(SMALL_N2, seed=1)
    np.testing.assert_allclose(sides_N2[:, 0] / sides_N2[:, 1], SMALL_N2[:, 0] / SMALL_N2[:, 1])
    factors = sides_N2[:, 0] / SMALL_N2[:, 0]
    assert 0.9 <= factors.min() < factors.max() <= 1.1
