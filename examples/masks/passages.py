"""Stretches of a video that are harder than the rest, as real ones have them: a crowd, dusk, a lens out of focus."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import takewhile

import numpy as np

CALM = (40, 90)
"""Frames from one passage to the next."""
HARD = (20, 40)
"""Frames of a passage."""
TRANSITION = 8
"""Frames in which light and focus are lost, and again until they are back."""
CROWD_SIZE = (6, 10)


class Hardship(Enum):
    """`CROWD`: many come at once, far away. `DUSK`: light is missing, and what there is, is noisy. `UNSHARP`: blur."""

    CROWD = auto()
    DUSK = auto()
    UNSHARP = auto()


@dataclass(frozen=True)
class Passage:
    hardship: Hardship
    first: int
    frames: int

    def strength(self, frame: int) -> float:
        """From 0 before and after it to 1 in its middle."""
        inside = min(frame - self.first, self.first + self.frames - 1 - frame) + 1
        return float(np.clip(inside / TRANSITION, 0, 1))


def passages_of(seed: int, frames: int) -> list[Passage]:
    """Those that begin within so many frames. Kinds come by lot, none twice before all have been there."""
    return list(takewhile(lambda passage: passage.first < frames, _endless(np.random.default_rng(seed))))


def _endless(rng: np.random.Generator) -> Iterator[Passage]:
    end = 0
    while True:
        for kind in rng.permutation(len(Hardship)):
            first, length = end + int(rng.integers(*CALM)), int(rng.integers(*HARD))
            yield Passage(list(Hardship)[kind], first, length)
            end = first + length


def strength(passages: Sequence[Passage], hardship: Hardship, frame: int) -> float:
    return max((passage.strength(frame) for passage in passages if passage.hardship is hardship), default=0.0)
