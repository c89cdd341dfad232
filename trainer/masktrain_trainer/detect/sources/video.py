"""Frames of one video file, by the FFmpeg that OpenCV brings: whatever container and codec it reads.

A file is read twice. First its packets alone, undecoded, in a small part of the time of decoding: containers say
wrong numbers of frames, and of a variable rate only the guess of a constant one. After that the time of each frame
says which one it is, so that those that are missing can be named and results last as long as the video.
"""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from threading import Event, Lock
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from masktrain_trainer.errors import InvalidConfiguration

from .base import Frame, Kind, Medium, Skipped, SourceOptions, ordinal
from .containers import AVI, MATROSKA, Container, look_at
from .matroska import broken_at

VIDEO_SUFFIXES: Final = frozenset(
    {".3g2", ".3gp", ".asf", ".avi", ".divx", ".f4v", ".flv", ".h264", ".hevc", ".m2ts", ".m4v", ".mjpeg", ".mjpg"}
    | {".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf", ".ogv", ".ts", ".vob", ".webm", ".wmv", ".y4m"}
)
"""Endings, in lower case, of the files of a folder that are taken for videos."""
USUAL_RATE: Final = 25.0
"""Frames per second of what says none."""
_SLOWEST, _FASTEST = 0.1, 240.0
"""Frames per second that results can have."""
_PATIENCE: Final = 64
"""Failures in a row after which nothing more is expected of a file whose number of frames is not known."""
_SAME_SECONDS: Final = 1e-4
_ONE_FRAME_A_PACKET: Final = frozenset({"H264", "X264", "h264", "x264", "avc1", "AVC1", "HEVC", "hevc"})
"""Codecs in AVI; MPEG-4 has packets that stand for none."""
_VP8: Final = int.from_bytes(b"VP80", "little")
_VP8_SHOWN: Final = 0x10


def quiet_opencv() -> None:
    """Keep FFmpeg's remarks, and OpenCV's on them, off the process's standard error: `Skipped` says it in our words.

    FFmpeg's level is read from the environment once, when OpenCV first opens a video, be it for reading or writing, and
    there is no other door to it; so this comes before each of them. OpenCV's own remarks have a level of their own,
    which pictures' decoders do not ask. Whoever sets one of the two variables sees what they ask for.
    """
    # av_log's AV_LOG_QUIET.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if "OPENCV_LOG_LEVEL" not in os.environ:
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)


def open_capture(location: str, parameters: Mapping[int, int] | None = None) -> cv2.VideoCapture:
    """By FFmpeg, quietly, and perhaps not opened; `parameters`: cv2.CAP_PROP_… and their values."""
    quiet_opencv()
    return cv2.VideoCapture(
        location, cv2.CAP_FFMPEG, [number for pair in (parameters or {}).items() for number in pair]
    )


@dataclass(frozen=True)
class Timeline:
    """`seconds_N`: of the frames in the order in which they are shown, rising; None if the file says no times.

    `frames_per_second`: the average.
    """

    frames: int
    frames_per_second: float
    seconds_N: npt.NDArray[np.float64] | None

    @property
    def interval(self) -> float:
        """Seconds from one frame to the next, usually."""
        if self.seconds_N is None or len(self.seconds_N) < 2:
            return 1 / self.frames_per_second
        return float(np.median(np.diff(self.seconds_N)))

    def longest_gap(self) -> tuple[float, float, int] | None:
        """Where most frames could be missing: since when, until when, and how many at the usual interval."""
        if self.seconds_N is None or len(self.seconds_N) < 2:
            return None
        gaps_N = np.diff(self.seconds_N)
        place = int(np.argmax(gaps_N))
        missing = round(float(gaps_N[place]) / self.interval) - 1
        begin, end = (float(self.seconds_N[number] - self.seconds_N[0]) for number in (place, place + 1))
        return (begin, end, missing) if missing > 0 else None

    def number_at(self, seconds: float) -> int | None:
        """The frame that is shown at this time, if one is."""
        if self.seconds_N is None:
            return None
        place = int(np.searchsorted(self.seconds_N, seconds - _SAME_SECONDS))
        there = place < len(self.seconds_N) and self.seconds_N[place] <= seconds + _SAME_SECONDS
        return place if there else None


def read_timeline(location: str) -> Timeline:
    """Of the packets, undecoded. Without frames for what is no video."""
    capture = open_capture(location, {cv2.CAP_PROP_FORMAT: -1})
    seconds: list[float] = []
    failures = 0
    has_hidden = int(capture.get(cv2.CAP_PROP_FOURCC)) == _VP8
    said = capture.get(cv2.CAP_PROP_FPS)
    while capture.isOpened() and failures < _PATIENCE:
        if not capture.grab():
            failures += 1
            continue
        failures = 0
        # Of VP8 also frames that are never shown, but that later ones refer to, have packets.
        if not has_hidden or _is_shown(capture):
            seconds.append(capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    capture.release()
    return _timeline(seconds, said if math.isfinite(said) and _SLOWEST <= said <= _FASTEST else USUAL_RATE)


def _is_shown(capture: cv2.VideoCapture) -> bool:
    there, packet = capture.retrieve()
    return not there or packet.size == 0 or bool(int(packet.ravel()[0]) & _VP8_SHOWN)


def _timeline(seconds: list[float], said: float) -> Timeline:
    rising_N = np.unique(np.asarray(seconds, np.float64))
    # A bare stream of H.264 has packets without times, which all read as the same one.
    if len(rising_N) < max(2, 0.9 * len(seconds)) or not np.isfinite(rising_N).all():
        return Timeline(len(seconds), said, None)
    average = (len(rising_N) - 1) / float(rising_N[-1] - rising_N[0])
    return Timeline(len(rising_N), min(max(average, _SLOWEST), _FASTEST), rising_N)


def open_video(path: Path, name: PurePath, origin: str, options: SourceOptions) -> "Video":
    """The video of a file with its first frame decoded. Raises InvalidConfiguration with a sentence about `origin`."""
    try:
        location = str(path.absolute())  # not `a:b.mp4`, which FFmpeg would take for an address
        location.encode()
        container = look_at(path)
    except UnicodeEncodeError:
        raise InvalidConfiguration(f"{origin} has a name that is no UTF-8; rename it.") from None
    except OSError as error:
        raise InvalidConfiguration(f"{origin} cannot be read: {error.strerror}.") from None
    if path.stat().st_size == 0:
        raise InvalidConfiguration(f"{origin} is an empty file, not a video.")
    video = Video(location, name, origin, options, container)
    if not video.has_frames:
        video.close()
        raise InvalidConfiguration(f"{origin} {_why_nothing(container, video.timeline.frames)}")
    return video


def _why_nothing(container: Container, packets: int) -> str:
    if container.codec is None and container.sound:
        return "holds sound and no video."
    if container.cut:
        return (
            "is cut off, and no frame of what is there can be read: a recording that was not ended, or half a "
            "download; fetch it again."
        )
    if container.kind is None and not packets:
        return "is not a video that can be read, such as MP4, MKV, AVI or WebM."
    if container.codec is None:
        return "holds no video." if container.kind else "holds no frame that can be decoded."
    if packets == 0 and container.codec.upper() in _USUAL_CODECS:
        return "holds no frame: its video is empty or damaged."
    return (
        f"holds no frame that can be decoded: its codec {container.codec} is not known here, or all of it is damaged; "
        "save it as H.264, for instance with ffmpeg -i FILE -c:v libx264 NEW.mp4."
    )


_USUAL_CODECS: Final = frozenset({"AVC1", "HEV1", "HVC1", "MP4V", "MPEG4/ISO/AVC", "VP8", "VP9", "MJPG", "FMP4"})


class Video:
    """One video's frames, once. `medium` says how many come, and at which rate, after the stride."""

    def __init__(
        self, location: str, name: PurePath, origin: str, options: SourceOptions, container: Container
    ) -> None:
        self._path = Path(location)
        self.timeline = read_timeline(location)
        self._capture = open_capture(location)
        self._stride = options.stride
        self._container = container
        self._said = int(max(self._capture.get(cv2.CAP_PROP_FRAME_COUNT), 0))
        self._said_rate = self._capture.get(cv2.CAP_PROP_FPS)
        self._closed, self._reading = Event(), Lock()
        self._failures = 0
        """Since the last frame."""
        self.has_frames = self._grab()
        self._reordered = self.has_frames and self._has_times_of_packets()
        if self._reordered:
            self.timeline = replace(self.timeline, seconds_N=None)
        self.medium = Medium(
            name,
            Kind.VIDEO,
            origin,
            frames_per_second=max(self.timeline.frames_per_second / options.stride, _SLOWEST),
            frames=math.ceil(self.timeline.frames / options.stride),
        )

    def _has_times_of_packets(self) -> bool:
        """AVI knows no times: where frames are stored in another order, the first one has that of a later packet."""
        first = self.timeline.number_at(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
        return self._container.kind == AVI and bool(first) and self._failures == 0

    def __iter__(self) -> Iterator[Frame | Skipped]:
        with self._reading:
            try:
                yield from self._frames()
            finally:
                self._capture.release()

    def _frames(self) -> Iterator[Frame | Skipped]:
        last, there = _Place(-1, -math.inf), self.has_frames
        while there and not self._closed.is_set():
            place = self._place(last)
            if place is not None:
                yield from self._between(last, place)
                yield from self._frame(place)
                last = place
            there = last.number + 1 != self.timeline.frames and self._grab()
        if not self._closed.is_set():
            yield from self._end(last)

    def close(self) -> None:
        """From any thread; who iterates releases the decoder, which two threads must not use at once."""
        self._closed.set()
        if self._reading.acquire(blocking=False):
            self._capture.release()
            self._reading.release()

    def _grab(self) -> bool:
        """Decode the next frame, whatever damaged ones lie before it.

        OpenCV says the same of a damaged packet as of the end, and goes on after the one but not after the other.
        """
        self._failures = 0
        while self._failures < _PATIENCE + self.timeline.frames and not self._closed.is_set():
            if self._capture.grab():
                return True
            self._failures += 1
        return False

    def _place(self, last: "_Place") -> "_Place | None":
        """Of the frame just decoded; None of one that comes too late, as decoders give them around damage."""
        seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        number = self.timeline.number_at(seconds)
        if self.timeline.seconds_N is None or number is None:
            number = last.number + 1 + self._failures
            return _Place(number, max(number / self.timeline.frames_per_second, last.seconds))
        if number <= last.number:
            return None
        return _Place(number, seconds - float(self.timeline.seconds_N[0]))

    def _between(self, last: "_Place", place: "_Place") -> Iterator[Skipped]:
        """What is missing before the frame."""
        first = last.number + 1
        if place.number == first:
            return
        # A packet may stand for no frame of its own, as MPEG-4 in AVI has them: then nothing is missing on the screen.
        gap = place.seconds - max(last.seconds, 0.0)
        if self._failures or gap > 1.5 * self.timeline.interval:
            yield Skipped(f"{_named(first, place.number - 1)} of {self.medium.origin} cannot be decoded; it goes on.")

    def _frame(self, place: "_Place") -> Iterator[Frame]:
        if place.number % self._stride:
            return
        there, pixels_HWC = self._capture.retrieve()
        if there:
            # Not in place, which is slower.
            rgb_HWC = cv2.cvtColor(pixels_HWC, cv2.COLOR_BGR2RGB)
            yield Frame(self.medium, place.number, place.seconds, np.asarray(rgb_HWC, np.uint8))

    def _end(self, last: "_Place") -> Iterator[Skipped]:
        origin, there = self.medium.origin, self.timeline.frames
        if self._container.cut:
            yield Skipped(
                f"{origin} is cut off: it ends after frame {ordinal(last.number)} ({last.seconds:.1f} s), and what "
                "came before is taken."
            )
            return
        if last.number + 1 < there and self.timeline.seconds_N is not None:
            yield Skipped(f"{_named(last.number + 1, there - 1)} of {origin} cannot be decoded; nothing comes after.")
        if self._reordered and last.number + 1 < there and self._container.codec in _ONE_FRAME_A_PACKET:
            missing = there - last.number - 1
            yield Skipped(f"{origin} is damaged: {missing} of its {there} frames cannot be decoded.")
        if self._container.counted and self._said > there:
            yield Skipped(f"{origin} is damaged: of the {self._said} frames that it says it holds {there} are there.")
        if self._is_short(last):
            yield Skipped(
                f"{origin} is damaged, or shorter than it says: its frames end after {last.seconds:.1f} s of "
                f"{self._said / self._said_rate:.1f} s."
            )
        elif (sentence := self._damage_inside()) is not None:
            yield Skipped(sentence)

    def _damage_inside(self) -> str | None:
        """Of Matroska, which goes on behind it without a word."""
        try:
            at = broken_at(self._path) if self._container.kind == MATROSKA else None
        except OSError:  # it was there when it was opened
            return None
        if at is None:
            return None
        there = f"{self.medium.origin} is damaged from byte {at:,} on: {self.timeline.frames} frames of it can be read"
        gap = self.timeline.longest_gap()
        if gap is None:
            return f"{there}."
        begin, end, missing = gap
        return f"{there}, and about {missing} between {begin:.1f} and {end:.1f} s are missing."

    def _is_short(self, last: "_Place") -> bool:
        """Of Matroska, whose readers give up at damage: it says how long it is, but of its longest track."""
        if self._container.kind != MATROSKA or self._container.sound or not self._said_rate > 0:
            return False
        return self._said / self._said_rate > 1.2 * last.seconds + 2 * self.timeline.interval


@dataclass(frozen=True)
class _Place:
    """Of a frame in its video."""

    number: int
    seconds: float


def _named(first: int, last: int) -> str:
    return f"Frame {ordinal(first)}" if first == last else f"Frames {ordinal(first)} to {ordinal(last)}"
