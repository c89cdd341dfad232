"""The videos of a comparison: what each model sees, one file each for the page, and both side by side in one."""

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
from PIL import Image as Pictures
from PIL import ImageDraw

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.outputs.video import VideoFile
from masktrain_trainer.detect.sources.video import open_capture
from masktrain_trainer.predict.drawing import LabelledBox, Lettering, draw_boxes
from masktrain_trainer.predict.fonts import drawable_names

from .matching import FrameBoxes
from .recording import Recording, Seen

PANEL = 720
"""Longest side of what one model sees, in pixels: two of them fill a screen."""
MOST_EMBEDDED = 37 << 20
"""Bytes of both videos in the page: as text they are a third larger."""
SMALLEST_PANEL = 160
TITLE_HEIGHT = 36
_INK, _PAPER = (235, 238, 243), (22, 27, 34)


@dataclass(frozen=True)
class Panel:
    """Where every frame is drawn: of the first one's shape; others get bars. Sides are even, as encoders want them."""

    height: int
    width: int

    @classmethod
    def of(cls, picture_HWC: Image, longest: int = PANEL) -> Self:
        height, width = picture_HWC.shape[:2]
        share = min(1.0, longest / max(height, width))
        return cls(_even(height * share), _even(width * share))

    def fit(self, picture_HWC: Image) -> tuple[Image, float, tuple[int, int]]:
        """The picture on the panel; by how much it was scaled, and where its left upper corner is: x, y."""
        height, width = picture_HWC.shape[:2]
        scale = min(self.height / height, self.width / width)
        inner = (max(1, round(width * scale)), max(1, round(height * scale)))
        way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        scaled = np.asarray(
            picture_HWC if inner == (width, height) else cv2.resize(picture_HWC, inner, interpolation=way)
        )
        if scaled.shape[:2] == (self.height, self.width):
            return scaled.astype(np.uint8, copy=False), scale, (0, 0)
        x, y = (self.width - scaled.shape[1]) // 2, (self.height - scaled.shape[0]) // 2
        canvas = np.full((self.height, self.width, 3), _PAPER, np.uint8)
        canvas[y : y + scaled.shape[0], x : x + scaled.shape[1]] = scaled
        return canvas, scale, (x, y)


def _even(side: float) -> int:
    return max(2, round(side / 2) * 2)


@dataclass(frozen=True)
class Artist:
    """Draws the boxes above a confidence on a panel; class `names` as `Classes` has them."""

    panel: Panel
    names: Sequence[str]
    confidence: float

    def draw(self, picture_HWC: Image, boxes: FrameBoxes) -> Image:
        canvas, scale, (x, y) = self.panel.fit(picture_HWC)
        shown = boxes.above(self.confidence)
        places = shown.xyxy_N4 * scale + np.array([x, y, x, y], np.float32)
        labelled = [
            LabelledBox((x1, y1, x2, y2), label, f"{self.names[label]} {confidence:.2f}")
            for (x1, y1, x2, y2), label, confidence in zip(
                places.tolist(), shown.label_N.tolist(), shown.confidence_N.tolist(), strict=True
            )
        ]
        # Boxes of the lowest confidence first, so that the surest lie on top.
        return draw_boxes(canvas, labelled[::-1])


class ComparisonVideos:
    """Three files, written frame by frame: `panels` for the page, `path` with both and the models' titles.

    The first frame decides on their size. A context: they can be played when it is left, after an error too.
    """

    def __init__(self, path: Path, scratch: Path, recording: Recording) -> None:
        self.panels = (scratch / "first.webm", scratch / "second.webm")
        self._path = path
        self._recording = recording
        self._files: list[VideoFile] = []
        self._artist: Artist | None = None
        self._heading: Image | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for file in self._files:
            file.close()

    def write(self, seen: Seen) -> None:
        pixels = seen.frame.pixels_HWC
        if self._artist is None:
            self._open(Panel.of(pixels))
        assert self._artist is not None
        assert self._heading is not None
        both = [self._artist.draw(pixels, boxes) for boxes in seen.boxes]
        whole = np.concatenate((self._heading, np.concatenate(both, axis=1)), axis=0)
        for file, picture in zip(self._files, (*both, whole), strict=True):
            file.write(np.ascontiguousarray(picture))

    def _open(self, panel: Panel) -> None:
        rate, names = self._recording.rate, drawable_names(self._recording.classes.names)
        self._artist = Artist(panel, names, self._recording.confidence)
        self._heading = _heading(panel.width, self._recording.titles)
        size = (panel.height, panel.width)
        for path in self.panels:
            self._files.append(VideoFile(path, size, rate))
        self._files.append(VideoFile(self._path, (panel.height + TITLE_HEIGHT, 2 * panel.width), rate))


def _heading(width: int, titles: tuple[str, str]) -> Image:
    """A bar with both titles, each above its panel; one that is too long gets a smaller letter, and then ends."""
    bar = Pictures.new("RGB", (2 * width, TITLE_HEIGHT), _PAPER)
    canvas = ImageDraw.Draw(bar)
    for side, title in enumerate(titles):
        half = Pictures.new("RGB", (width, TITLE_HEIGHT), _PAPER)
        lettering = next(
            (fitting for points in (18, 15, 12) if (fitting := Lettering.of(title, points)).width <= width - 16),
            Lettering.of(title, 10),
        )
        lettering.draw(ImageDraw.Draw(half), 8, TITLE_HEIGHT - 11, _INK)
        bar.paste(half, (side * width, 0))
    canvas.line((width, 6, width, TITLE_HEIGHT - 6), fill=(90, 98, 110))
    return np.asarray(bar)


def shrunk_to_fit(
    panels: tuple[Path, Path], rate: float, most: int = MOST_EMBEDDED
) -> tuple[tuple[Path, Path], str | None]:
    """Both videos, smaller where they have more than `most` bytes together, and what to say about it."""
    size = _bytes(panels)
    if size <= most:
        return panels, None
    height, width = _size(panels[0])
    longest = max(height, width)
    while size > most and longest > SMALLEST_PANEL:
        # Bytes grow a little slower than pixels, hence somewhat less than the root.
        longest = max(SMALLEST_PANEL, int(longest * 0.95 * min(0.9, (most / size) ** 0.5)))
        smaller = tuple(_shrink(path, longest, rate) for path in panels)
        panels = (smaller[0], smaller[1])
        size = _bytes(panels)
    return panels, (
        f"The page's videos are scaled to {longest} pixels to keep the page below {(most * 4 // 3) >> 20} MB; "
        "compare.webm has them larger."
    )


def _bytes(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def _size(path: Path) -> tuple[int, int]:
    return next(read_back(path)).shape[:2]


def _shrink(path: Path, longest: int, rate: float) -> Path:
    target = path.with_name(f"{longest}-{path.name.rpartition('-')[2]}")
    with contextlib.ExitStack() as stack:
        file: VideoFile | None = None
        for picture in read_back(path):
            panel = Panel.of(picture, longest)
            if file is None:
                file = VideoFile(target, (panel.height, panel.width), rate)
                stack.callback(file.close)
            file.write(panel.fit(picture)[0])
    return target


def read_back(path: Path) -> Iterator[Image]:
    """The frames of a video that was written here, red green blue."""
    video = open_capture(str(path.absolute()))
    try:
        while True:
            there, picture = video.read()
            if not there:
                return
            yield np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8)
    finally:
        video.release()


@contextlib.contextmanager
def scratch_beside(folder: Path) -> Iterator[Path]:
    """A hidden folder in the one for results, whose disk has room for videos; /tmp is often memory."""
    with tempfile.TemporaryDirectory(prefix=".work-", dir=folder, ignore_cleanup_errors=True) as name:
        yield Path(name)
