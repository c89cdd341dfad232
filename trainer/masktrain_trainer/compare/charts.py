"""The page's charts, as coordinates in a plane 1000 wide: the template makes SVG of them and a stylesheet colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .recording import Recording
from .tracks import Track
from .witness import Witness, presence

WIDTH = 1000
HEIGHT = 100
MOST_POINTS = 500
"""Of a line: a long video's frames are averaged."""
MOST_TRACKS = 24
"""Objects whose presence is drawn, the longest ones that either model loses first."""

Array = NDArray[Any]


@dataclass(frozen=True)
class CountChart:
    """Boxes of a class over time: SVG paths of both models, None for one that does not know the class."""

    name: str
    paths: tuple[str | None, str | None]
    most: int
    means: tuple[float, float]


def count_charts(recording: Recording) -> list[CountChart]:
    """One for each class that either model ever shows, the most frequent first."""
    labels = [[found.label_N for found in recording.shown(model)] for model in (0, 1)]
    charts = []
    for number, name in enumerate(recording.classes.names):
        counts = [np.array([int((label_N == number).sum()) for label_N in of_model]) for of_model in labels]
        most = max((int(of_model.max()) for of_model in counts if len(of_model)), default=0)
        if most:
            paths = [
                line(counts[model], most) if number in recording.classes.of_models[model] else None for model in (0, 1)
            ]
            means = tuple(float(of_model.mean()) for of_model in counts)
            charts.append(CountChart(name, (paths[0], paths[1]), most, (means[0], means[1])))
    return sorted(charts, key=lambda chart: -sum(chart.means))


def line(values_N: Array, top: float) -> str:
    """A path of steps, averaged to at most `MOST_POINTS`; zero is at the bottom, `top` at the top."""
    means = binned(values_N)
    heights = HEIGHT - means / max(top, 1e-9) * (HEIGHT - 6)
    edges = np.linspace(0, WIDTH, len(means) + 1)
    steps = "".join(f"V{height:.1f}H{right:.1f}" for height, right in zip(heights, edges[1:], strict=True))
    return f"M0 {heights[0]:.1f}{steps}"


def binned(values_N: Array, most: int = MOST_POINTS) -> Array:
    """Means of equal stretches."""
    stretches = min(most, len(values_N))
    edges = np.linspace(0, len(values_N), stretches + 1).astype(int)
    return np.add.reduceat(values_N.astype(np.float64), edges[:-1]) / np.diff(edges)


@dataclass(frozen=True)
class Bar:
    x: float
    width: float
    height: float
    kind: str = ""


def disagreement_bars(recording: Recording) -> tuple[list[Bar], int]:
    """Differing boxes over time, and the most of a frame."""
    counts = np.array([found.disagreements for found in recording.matches()])
    most = int(counts.max(initial=0))
    means = binned(counts, 250)
    width = WIDTH / max(1, len(means))
    return [
        Bar(index * width, width, float(mean) / max(1, most) * HEIGHT) for index, mean in enumerate(means) if mean > 0
    ], most


@dataclass(frozen=True)
class TrackRow:
    """An object and when each model shows it: `bars` of both, with their gaps left open; `blinks` of both."""

    name: str
    first: int
    bars: tuple[list[Bar], list[Bar]]
    blinks: tuple[int, int]
    missing: tuple[float, float]


def track_rows(recording: Recording, witness: Witness) -> list[TrackRow]:
    """Of the objects that are there longest, those first that are lost most often."""
    longest = sorted(witness.tracks, key=lambda track: -track.span)[:MOST_TRACKS]
    rows = [_track_row(recording, track) for track in longest]
    return sorted(rows, key=lambda row: (-sum(row.blinks), row.first))


def _track_row(recording: Recording, track: Track) -> TrackRow:
    there = [presence(recording, track, model) for model in (0, 1)]
    scale = WIDTH / max(1, len(recording))
    bars = [_stretches(seen, track.frames[0], scale) for seen in there]
    blinks = [_blinks(seen) for seen in there]
    missing = [1 - sum(seen) / len(seen) for seen in there]
    name = recording.classes.names[track.label]
    return TrackRow(name, track.frames[0], (bars[0], bars[1]), (blinks[0], blinks[1]), (missing[0], missing[1]))


def _stretches(seen: Sequence[bool], first: int, scale: float) -> list[Bar]:
    bars, at = [], first
    for there, stretch in groupby(seen):
        length = len(list(stretch))
        bars.append(Bar(at * scale, max(length * scale, 0.5), HEIGHT, "there" if there else "gone"))
        at += length
    return bars


def _blinks(seen: Sequence[bool]) -> int:
    """Stretches without a box between two with one."""
    stretches = [there for there, _ in groupby(seen)]
    inner = stretches[(not stretches[0]) : len(stretches) - (not stretches[-1])]
    return sum(not there for there in inner)
