"""The screen, or a part of it."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from types import ModuleType
from typing import TYPE_CHECKING

import cv2
import numpy as np

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.errors import InvalidConfiguration

from .base import Frame, Kind, Medium, Skipped, Source, SourceOptions

if TYPE_CHECKING:
    from mss import MSS

FRAMES_PER_SECOND = 30.0
"""At most: the screen is looked at when somebody takes a frame."""
FORMS = (
    "`screen` (all monitors), `screen 1` (a monitor), `screen 1 100 50 640 480` or `screen 100 50 640 480` "
    "(left, top, width and height)"
)


@dataclass(frozen=True)
class Region:
    """In pixels. Of a monitor: from its corner; of all: from the corner of all."""

    left: int
    top: int
    width: int
    height: int

    def __str__(self) -> str:
        return f"{self.width} × {self.height} pixels at {self.left}, {self.top}"


def is_screen(text: str) -> bool:
    return re.match(r"screen(?:$|[\s:])", text.strip()) is not None


def parse_screen(text: str) -> tuple[int, Region | None]:
    """The monitor, 0 for all of them, and what is asked for of it. Colons and commas stand for spaces, too.

    Raises InvalidConfiguration.
    """
    word, *numbers = re.split(r"[\s:,]+", text.strip())
    if word != "screen" or len(numbers) not in (0, 1, 4, 5) or not all(re.fullmatch("[0-9]{1,5}", n) for n in numbers):
        raise InvalidConfiguration(f"{text!r} is no part of the screen: write {FORMS}.")
    values = [int(number) for number in numbers]
    monitor = values.pop(0) if len(values) in (1, 5) else 0
    return monitor, Region(*values) if values else None


def open_screen(text: str, options: SourceOptions) -> Source:
    """What `text` says in one of FORMS. Raises UserError."""
    monitor, asked = parse_screen(text)
    looking = _look()
    try:
        region = find_region([_region(found) for found in looking.monitors], monitor, asked)
    except InvalidConfiguration:
        looking.close()
        raise
    return _Screen(looking, PurePath("-".join(re.split(r"[\s:,]+", text.strip()))), region, options)


def find_region(monitors: Sequence[Region], monitor: int, asked: Region | None) -> Region:
    """What is asked for, from the corner of all; the first of `monitors` is all together. Raises
    InvalidConfiguration if it is not there.
    """
    if monitor >= len(monitors):
        there = "; ".join(f"{number}: {found}" for number, found in enumerate(monitors[1:], 1))
        raise InvalidConfiguration(f"There is no monitor {monitor}. There are 0 (all together); {there}.")
    whole = monitors[monitor]
    if asked is None:
        return whole
    if min(asked.width, asked.height) < 1 or (
        asked.left + asked.width > whole.width or asked.top + asked.height > whole.height
    ):
        raise InvalidConfiguration(
            f"The part of the screen, {asked}, is not all on monitor {monitor}, "
            f"which has {whole.width} × {whole.height} pixels."
        )
    return Region(whole.left + asked.left, whole.top + asked.top, asked.width, asked.height)


def _region(monitor: Mapping[str, object]) -> Region:
    left, top, width, height = (int(str(monitor[key])) for key in ("left", "top", "width", "height"))
    return Region(left, top, width, height)


def _mss() -> ModuleType:
    try:
        import mss  # noqa: PLC0415 - an extra
    except ImportError:
        raise InvalidConfiguration(
            "The screen is read by mss, which is not installed: pip install 'masktrain[trainer,media]'."
        ) from None
    return mss


def _look() -> "MSS":
    try:
        looking: MSS = _mss().MSS()
    except _mss().ScreenShotError:
        raise InvalidConfiguration(
            "There is no screen to read: no X server answers at DISPLAY. Run it where the screen is, or under Xvfb."
        ) from None
    return looking


class _Screen:
    live = True
    frames = None

    def __init__(self, looking: "MSS", name: PurePath, region: Region, options: SourceOptions) -> None:
        # The one connection from the beginning: an X server without another would start anew between two.
        self._looking = looking
        self._region = region
        self._stride = options.stride
        self._medium = Medium(name, Kind.LIVE, f"the screen ({region})", FRAMES_PER_SECOND / options.stride)
        self._closed = threading.Event()
        self._iterated = False

    def close(self) -> None:
        self._closed.set()
        if not self._iterated:
            self._looking.close()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        self._iterated = True
        try:
            with self._looking:
                yield from self._frames()
        # mss asserts that an answer comes, and to part from a screen that is gone fails, too.
        except (_mss().ScreenShotError, AssertionError):
            yield Skipped(f"{self._medium.origin[0].upper()}{self._medium.origin[1:]} cannot be read any more.")

    def _frames(self) -> Iterator[Frame]:
        began = time.monotonic()
        tick = 0
        while not self._closed.wait(began + tick / FRAMES_PER_SECOND - time.monotonic()):
            seconds = time.monotonic() - began
            yield Frame(self._medium, tick, seconds, self._grab())
            tick = self._next_tick(tick, time.monotonic() - began)

    def _next_tick(self, tick: int, seconds: float) -> int:
        """The next multiple of the stride whose time has not passed, or passes now."""
        passed = int(seconds * FRAMES_PER_SECOND)
        return max(tick + self._stride, passed - passed % self._stride)

    def _grab(self) -> Image:
        region = self._region
        shot = self._looking.grab(
            {"left": region.left, "top": region.top, "width": region.width, "height": region.height}
        )
        pixels_HWC = np.frombuffer(shot.raw, np.uint8).reshape(shot.height, shot.width, 4)
        return cv2.cvtColor(pixels_HWC, cv2.COLOR_BGRA2RGB).astype(np.uint8, copy=False)
