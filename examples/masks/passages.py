"""What happens in the minutes of a camera at an entrance: long quiet stretches, and passages that are hard.

A film on which mistakes are to be found must have them where real ones have. Recordings of entrances
(ChokePoint: 54 of them, http://itee.uq.edu.au/~uqywong6/chokepoint.html) show nobody at first, then mostly one person
at a time, and in few of them a crowd whose people hide each other; light, sharpness and distance vary. So here:

- The camera hangs still. A quarter to two fifths of the time is hard, in passages of 3 to 6 seconds, which is what a
  person takes to walk through such a picture; 6 to 12 quiet seconds lie between them.
- In quiet stretches nobody is there for a third of the time, and one person for half of it, near the camera.
- A passage is hard for one reason: many come at once and hide each other; a group comes by far away; the light goes, as
  under a cloud or when a lamp fails; the lens loses its focus. Each of them comes once before any comes again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from itertools import takewhile

import numpy as np

CALM = (150, 300)
"""Frames from one passage to the next."""
HARD = (75, 150)
"""Frames of a passage."""
TRANSITION = 20
"""Frames in which light and focus are lost, and again until they are back."""


class Hardship(Enum):
    """`CROWD`: many at once. `FAR`: a group far away. `DUSK`: what light there is, is noisy. `UNSHARP`: blur."""

    CROWD = auto()
    FAR = auto()
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
