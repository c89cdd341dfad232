"""What a person sees of a detection: a line for each picture, how far a video is, and a table at the end."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .detector import Detection
from .outputs.base import Detected
from .sources.base import Kind, Medium

Say = Callable[[str], None]

SECONDS_BETWEEN_LINES = 5.0
"""Of a video or a stream; each picture has a line of its own."""


@dataclass
class Tally:
    """Of a medium, or of all: frames, boxes of each class, and in how many frames a class is."""

    frames: int = 0
    boxes: Counter[int] = field(default_factory=Counter)
    frames_with: Counter[int] = field(default_factory=Counter)

    def add(self, detections: Sequence[Detection]) -> None:
        found = Counter(detection.class_index for detection in detections)
        self.frames += 1
        self.boxes += found
        self.frames_with.update(found.keys())


@dataclass
class _Played:
    """A video or stream as far as it was detected."""

    medium: Medium
    path: Path | None = None
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True)
class Summary:
    """folder: of the results; None if nothing was written. seconds: from the first frame on."""

    tally: Tally
    names: Sequence[str]
    seconds: float
    folder: Path | None

    @property
    def frames_per_second(self) -> float:
        return self.tally.frames / self.seconds if self.seconds > 0 else 0.0

    def line(self) -> str:
        count = self.tally.frames
        line = (
            f"{count} frame{'' if count == 1 else 's'} in {self.seconds:.1f} s, {self.frames_per_second:.1f} frames/s"
        )
        return line if self.folder is None else f"{line}; the results are in {self.folder}"


class Progress:
    """Lines for whoever reads along; `say` prints one. `watch` is called after each frame."""

    def __init__(
        self, say: Say, watch: "Callable[[Progress], None] | None" = None, *, lines_of_videos: bool = True
    ) -> None:
        self.say = say
        self.tally = Tally()
        self.names: Sequence[str] = ()
        self.frames_in_all: int | None = None
        self._watch = watch
        self._lines = lines_of_videos
        self._playing: dict[Medium, _Played] = {}
        self._began: float | None = None
        self._told = 0.0

    @property
    def seconds(self) -> float:
        return 0.0 if self._began is None else time.monotonic() - self._began

    def begin(self, names: Sequence[str], frames_in_all: int | None) -> None:
        """`names`: of the classes. The clock starts: models are loaded and sources opened."""
        self.names, self.frames_in_all = names, frames_in_all
        self._began = self._told = time.monotonic()

    def frame(self, detected: Detected, path: Path | None) -> None:
        """`path`: where it was written to, if it was."""
        self.tally.add(detected.detections)
        medium = detected.frame.medium
        if medium.kind is Kind.PICTURE:
            self._finish_videos()
            self.say(_with_path(summarise(medium.origin, detected.detections), path))
        else:
            self._play(detected, path)
        if self._watch is not None:
            self._watch(self)

    def end(self, folder: Path | None) -> Summary:
        self._finish_videos()
        return Summary(self.tally, self.names, self.seconds, folder)

    def counts(self, boxes: Counter[int]) -> str:
        """`2 mask, 1 no mask`; classes in the order of the model."""
        return ", ".join(f"{boxes[index]} {self.names[index]}" for index in sorted(boxes)) or "nothing"

    def _play(self, detected: Detected, path: Path | None) -> None:
        medium = detected.frame.medium
        if medium not in self._playing and medium.kind is Kind.VIDEO:
            self._finish_videos()
        played = self._playing.setdefault(medium, _Played(medium))
        played.path = path
        played.tally.add(detected.detections)
        now = time.monotonic()
        if self._lines and now - self._told >= SECONDS_BETWEEN_LINES:
            self._told = now
            self.say(self._so_far(played))

    def _so_far(self, played: _Played) -> str:
        # How many, which is not the number of the last one where there is a stride, or frames were passed over.
        of = f" of {played.medium.frames}" if played.medium.frames is not None else ""
        rate = self.tally.frames / self.seconds
        counts = self.counts(played.tally.boxes)
        return f"{played.medium.origin}: {played.tally.frames}{of} frames, {rate:.1f} frames/s, {counts}"

    def _finish_videos(self) -> None:
        for played in self._playing.values():
            count = played.tally.frames
            frames = f"{count} frame{'' if count == 1 else 's'}"
            line = f"{played.medium.origin}: {frames}, {self.counts(played.tally.boxes)}"
            self.say(_with_path(line, played.path))
        self._playing.clear()


def summarise(name: str, detections: Sequence[Detection]) -> str:
    """`a.jpg: 2 mask, 1 no mask`; classes in the order of the model."""
    counts = Counter((detection.class_index, detection.name) for detection in detections)
    return f"{name}: " + (", ".join(f"{count} {label}" for (_, label), count in sorted(counts.items())) or "nothing")


def _with_path(line: str, path: Path | None) -> str:
    return line if path is None else f"{line} -> {path}"
