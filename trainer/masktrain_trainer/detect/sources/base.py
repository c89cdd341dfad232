"""What every source gives: frames with the medium that they are of, or a sentence about what was passed over."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePath
from typing import Protocol

from masktrain_trainer.data.geometry import Image


class Kind(StrEnum):
    PICTURE = "picture"
    VIDEO = "video"
    LIVE = "live"


@dataclass(frozen=True)
class Medium:
    """A picture, a video or a live stream. There may be many in a source.

    name: relative path, different for each medium of a source, by which its results are called: `sub/a.jpg`,
    `clip.mp4`, `camera.example-8554-door`. origin: where it comes from, in words that anybody may read (no keys).
    frames_per_second: of the results, so after any stride; None if nothing says it. frames: how many will come, if
    anything says it.
    """

    name: PurePath
    kind: Kind
    origin: str
    frames_per_second: float | None = None
    frames: int | None = None


@dataclass(frozen=True)
class Frame:
    """number: counted from 0 in the medium before any stride. What people read, be it results or sentences, has
    `ordinal`. seconds: since the medium's first frame; 0 for pictures.

    pixels_HWC: red, green, blue; upright, as a player shows it.
    """

    medium: Medium
    number: int
    seconds: float
    pixels_HWC: Image

    @property
    def ordinal(self) -> int:
        """Counted from 1, as YOLOv5 does."""
        return ordinal(self.number)


def ordinal(number: int) -> int:
    """What people call the frame of this number."""
    return number + 1


@dataclass(frozen=True)
class Skipped:
    """`sentence`: what was passed over and why; the source goes on."""

    sentence: str


@dataclass(frozen=True)
class SourceOptions:
    """stride: only every so many-th frame of videos and streams. timeout_seconds: without a frame of a live source.

    endpoint: of the S3 server that s3:// addresses are on, None for the one that the environment names.
    """

    stride: int = 1
    timeout_seconds: float = 30.0
    endpoint: str | None = None


class Source(Protocol):
    """Frames, those of one medium after another; of several live streams in turn.

    Opening one raises UserError for what cannot be opened; iterating raises it for what ends the whole source.
    """

    @property
    def live(self) -> bool:
        """Whether it has no end of its own and the newest frame is worth more than every frame."""

    @property
    def frames(self) -> int | None:
        """How many come in all, if anything says it: for the progress bar."""

    def __iter__(self) -> Iterator[Frame | Skipped]:
        """Once."""

    def close(self) -> None:
        """Stop: the iteration ends soon, whichever thread it is in. May be called again."""
