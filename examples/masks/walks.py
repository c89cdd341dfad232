"""People who come, walk by or come nearer, and go: who they are, and where they are in each frame."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from .look import Look, random_look
from .passages import Hardship, Passage
from .pen import Pose
from .scene import CLASS_SHARES

LANES = 6
"""In each of them one person follows the other, so there are never more in a street."""
PAUSES = (5, 60)
"""Frames from one person of a lane to the next."""
ENTRANCE_LANES, ENTRANCE_PAUSES = 2, (100, 400)
"""For a third of the time nobody is there, and for half of it one person."""
NEAR_WIDTHS, FAR_WIDTHS = (0.03, 0.095), (0.016, 0.03)
"""Half the width of a head, as a share of the longer side."""
WAYS = (100, 260)
"""Frames from where a person comes in to where they leave."""
GROUPS = {Hardship.CROWD: (6, 9, NEAR_WIDTHS), Hardship.FAR: (4, 8, FAR_WIDTHS)}
"""Of how many people, the second number no more, and how wide their heads are."""


@dataclass(frozen=True)
class Walk:
    """One person, from the frame in which they come to the one in which they go; lengths as shares of the longer side.

    start, end: x, y and half the width of the head. `swings`: how often, in radians a frame, and from where on the
    head turns and the body bobs.
    """

    label: int
    look: Look
    seed: int
    """Of what is drawn by lot on the person, such as the dots of a mask: the same in each frame."""
    first: int
    frames: int
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    rise: float
    """How far above the line between them half-way."""
    turn: float
    yaw: float
    swings: tuple[float, float]

    def pose(self, frame: int, side: float) -> Pose:
        share = (frame - self.first) / self.frames
        x, y, half_width = (
            before + (after - before) * share for before, after in zip(self.start, self.end, strict=True)
        )
        phase = self.swings[0] * frame + self.swings[1]
        return Pose(
            x=side * (x + 0.25 * half_width * np.sin(phase * 0.7)),
            y=side * (y - self.rise * np.sin(np.pi * share) + 0.12 * half_width * np.sin(phase * 2)),
            half_width=side * half_width,
            angle=self.turn + np.radians(7) * np.sin(phase),
            yaw=self.yaw + np.radians(18) * np.sin(phase * 0.6 + 1),
        )


def people_in_a_street(seed: int, floor: float) -> Iterator[list[Walk]]:
    """Who is there in frame 0, 1, 2 and so on. `floor`: the picture's height as a share of its longer side."""
    return _there([_walks(np.random.default_rng([seed, lane]), floor, PAUSES) for lane in range(LANES)], [])


def people_at_an_entrance(seed: int, floor: float, passages: Sequence[Passage]) -> Iterator[list[Walk]]:
    lanes = [_walks(np.random.default_rng([seed, lane]), floor, ENTRANCE_PAUSES) for lane in range(ENTRANCE_LANES)]
    groups = [walk for passage in passages if passage.hardship in GROUPS for walk in _group(seed, passage, floor)]
    return _there(lanes, groups)


def _there(lanes: Sequence[Iterator[Walk]], others: Sequence[Walk]) -> Iterator[list[Walk]]:
    latest = [next(lane) for lane in lanes]
    for frame in count():
        for number, lane in enumerate(lanes):
            while latest[number].first + latest[number].frames <= frame:
                latest[number] = next(lane)
        passing = [walk for walk in others if frame < walk.first + walk.frames]
        yield [walk for walk in (*latest, *passing) if walk.first <= frame]


def _group(seed: int, passage: Passage, floor: float) -> Iterator[Walk]:
    """People who come together, and are gone when the passage ends."""
    rng = np.random.default_rng([seed, LANES + 2, passage.first])
    least, end, widths = GROUPS[passage.hardship]
    for _ in range(rng.integers(least, end)):
        late = int(rng.integers(0, passage.frames // 4))
        length = passage.frames - late
        yield _walk(rng, passage.first + late, floor, widths=widths, lengths=(3 * length // 4, length))


def _walks(rng: np.random.Generator, floor: float, pauses: tuple[int, int]) -> Iterator[Walk]:
    """One person after the other, with pauses; the first one is on their way when the video begins."""
    first = -int(rng.integers(0, 150))
    while True:
        walk = _walk(rng, first, floor)
        yield walk
        first += walk.frames + int(rng.integers(*pauses))


def _walk(
    rng: np.random.Generator,
    first: int,
    floor: float,
    *,
    widths: tuple[float, float] = NEAR_WIDTHS,
    lengths: tuple[int, int] = WAYS,
) -> Walk:
    label = int(rng.choice(list(CLASS_SHARES), p=list(CLASS_SHARES.values())))
    half_width = float(rng.uniform(*widths))
    grown = half_width * float(rng.uniform(0.75, 1.5))
    y = float(rng.uniform(0.3, 0.6)) * floor
    outside = 2 * half_width
    if rng.random() < 0.6:  # the others come up from the lower edge and go down again
        rise = 0.0
        way = [-outside, 1 + 2 * grown][:: int(rng.choice([-1, 1]))]
        start, end = (way[0], y, half_width), (way[1], y + float(rng.uniform(-0.08, 0.08)), grown)
    else:
        x = float(rng.uniform(0.1, 0.9))
        way = [floor + outside, floor + 2 * grown]
        start, end, rise = (x, way[0], half_width), (x + float(rng.uniform(-0.2, 0.2)), way[1], grown), way[0] - y
    return Walk(
        label=label,
        look=random_look(rng, label),
        seed=int(rng.integers(2**31)),
        first=first,
        frames=int(rng.integers(*lengths)),
        start=start,
        end=end,
        rise=rise,
        turn=float(np.radians(rng.normal(0, 8))),
        yaw=float(np.radians(np.clip(rng.normal(0, 18), -32, 32))),
        swings=(float(rng.uniform(0.05, 0.16)), float(rng.uniform(0, 2 * np.pi))),
    )
