"""YOLOv5's autoanchor: do the anchors suit the boxes of a data set, and which would suit them better.

A box that no anchor matches (see `loss.py`) is never learnt, so what counts is the best possible recall: the share of
boxes that some anchor matches. k-means over the boxes gives a start, random mutation improves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Sides = npt.NDArray[np.float64]
"""(N, 2) widths and heights in pixels of the training image."""

# Bound, jitter and number of generations are YOLOv5's.
ENOUGH_RECALL = 0.98
JITTER = 0.1
"""Boxes are judged with their size changed by up to this fraction, as augmentation will change it."""
SMALLEST_SIDE = 2.0
"""Pixels; augmentation drops smaller boxes, so none is fitted to them."""
GENERATIONS = 1000
KMEANS_ROUNDS = 30
MUTATED = 0.9
"""Probability that a mutation changes a given side."""
MUTATION = 0.1
"""Standard deviation of a mutation's factor."""
MOST_FITTED = 100_000
"""Boxes that the fit looks at; more change nothing but its duration."""


@dataclass(frozen=True)
class AnchorFit:
    recall: float
    """Best possible recall, 0..1."""
    matching: float
    """Mean number of anchors that match a box."""

    @property
    def suffices(self) -> bool:
        return self.recall > ENOUGH_RECALL


def measure(anchors_A2: Sides, sides_N2: Sides, threshold: float) -> AnchorFit:
    """How well the anchors (pixels) match; a side may differ by less than the factor `threshold`."""
    matches_NA = _similarity(anchors_A2, sides_N2) > 1 / threshold
    return AnchorFit(float(matches_NA.any(axis=1).mean()), float(matches_NA.sum(axis=1).mean()))


def jittered(sides_N2: Sides, seed: int) -> Sides:
    factors_N1 = np.random.default_rng(seed).uniform(1 - JITTER, 1 + JITTER, (len(sides_N2), 1))
    sides: Sides = sides_N2 * factors_N1
    return sides


def fit_anchors(sides_N2: Sides, count: int, threshold: float, seed: int, generations: int = GENERATIONS) -> Sides:
    """`count` anchors (pixels), smallest area first, a pure function of its arguments.

    Raises ValueError if there are fewer boxes than anchors.
    """
    rng = np.random.default_rng(seed)
    usable_N2 = sides_N2[(sides_N2 >= SMALLEST_SIDE).any(axis=1)]
    if len(usable_N2) < count:
        raise ValueError(f"{len(usable_N2)} boxes are too few to fit {count} anchors to")
    if len(usable_N2) > MOST_FITTED:
        usable_N2 = rng.choice(usable_N2, MOST_FITTED, replace=False)
    start_A2 = _k_means(rng, usable_N2, count)
    return _by_area(_evolve(rng, start_A2, usable_N2, threshold, generations))


def _similarity(anchors_A2: Sides, sides_N2: Sides) -> Sides:
    """(N, A) the worse of the ratios of the two sides, each put below 1."""
    ratio_NA2 = sides_N2[:, None] / anchors_A2
    worst: Sides = np.minimum(ratio_NA2, 1 / ratio_NA2).min(axis=2)
    return worst


def closeness(anchors_A2: Sides, sides_N2: Sides, threshold: float) -> float:
    """Mean similarity to the best anchor; a box that none matches counts as zero."""
    best_N = _similarity(anchors_A2, sides_N2).max(axis=1)
    return float((best_N * (best_N > 1 / threshold)).mean())


def _k_means(rng: np.random.Generator, sides_N2: Sides, count: int) -> Sides:
    """Cluster centres. Each axis is measured in its standard deviation; an emptied cluster keeps its centre."""
    # Boxes that are all alike have no spread to divide by.
    spread_2 = np.maximum(sides_N2.std(axis=0), np.finfo(np.float64).eps)
    points_N2 = sides_N2 / spread_2
    centres_A2 = points_N2[rng.choice(len(points_N2), count, replace=False)]
    for _ in range(KMEANS_ROUNDS):
        nearest_N = ((points_N2[:, None] - centres_A2) ** 2).sum(axis=2).argmin(axis=1)
        centres_A2 = np.stack(
            [points_N2[nearest_N == a].mean(axis=0) if (nearest_N == a).any() else centres_A2[a] for a in range(count)]
        )
    anchors: Sides = np.maximum(centres_A2 * spread_2, SMALLEST_SIDE)
    return anchors


def _evolve(rng: np.random.Generator, anchors_A2: Sides, sides_N2: Sides, threshold: float, generations: int) -> Sides:
    """Keep whichever mutation is closer to the boxes than its parent."""
    best = closeness(anchors_A2, sides_N2, threshold)
    for _ in range(generations):
        chosen_A2 = rng.random(anchors_A2.shape) < MUTATED
        factors_A2 = 1 + chosen_A2 * rng.random() * rng.normal(0, MUTATION, anchors_A2.shape)
        mutant_A2 = np.maximum(anchors_A2 * factors_A2.clip(0.3, 3), SMALLEST_SIDE)
        mutant_closeness = closeness(mutant_A2, sides_N2, threshold)
        if mutant_closeness > best:
            anchors_A2, best = mutant_A2, mutant_closeness
    return anchors_A2


def _by_area(anchors_A2: Sides) -> Sides:
    # The caller gives the first three to the finest level, and so on.
    ordered: Sides = anchors_A2[np.argsort(anchors_A2.prod(axis=1), kind="stable")]
    return ordered
