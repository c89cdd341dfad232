"""What is read off a trainer's output, in the same terms for both trainers."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Epoch:
    """`wall_seconds` counts validation and saving too. `ended_at`: monotonic seconds; map50 was known then."""

    images_per_second: float
    wall_seconds: float
    ended_at: float
    map50: float


def steady(epochs: Sequence[Epoch]) -> Sequence[Epoch]:
    """Without the first epoch, in which caches fill and libraries choose their kernels."""
    return epochs[1:]


def mean_images_per_second(epochs: Sequence[Epoch]) -> float:
    """Harmonic, since all epochs have equally many images."""
    return len(epochs) / sum(1 / epoch.images_per_second for epoch in epochs)


def mean_wall_seconds(epochs: Sequence[Epoch]) -> float:
    return sum(epoch.wall_seconds for epoch in epochs) / len(epochs)


def mean_map50(epochs: Sequence[Epoch], start: float, seconds: float) -> float:
    """Mean over time from `start` on of the mAP50 known so far: the area under its curve by its length."""
    area, known, since, end = 0.0, 0.0, start, start + seconds
    for epoch in epochs:
        at = min(max(epoch.ended_at, start), end)
        area += known * (at - since)
        known, since = epoch.map50, at
    return (area + known * (end - since)) / seconds
