"""Videos with boxes, as browsers play them: MP4 with sound by an ffmpeg, VP8 in WebM by OpenCV's own encoder.

Both have one constant rate. Where frames of the source are not evenly apart, some are written twice and some not at
all, so that everything happens when it did.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from enum import StrEnum
from functools import cache
from pathlib import Path, PurePath
from typing import Protocol

import cv2
import numpy as np

from masktrain_trainer.data.geometry import Image, Size
from masktrain_trainer.data.source.pictures import decoder_messages
from masktrain_trainer.detect.sources.base import Kind, Medium
from masktrain_trainer.detect.sources.video import open_capture, quiet_opencv
from masktrain_trainer.errors import InvalidConfiguration, UnwritableResults
from masktrain_trainer.files import make_results_folder

from .base import Detected
from .labels import stem_of
from .naming import FreeNames, require_space, unwritable, writing
from .pictures import Artist

ASSUMED_RATE = 25.0
"""Frames per second of a stream that says none."""
LONGEST_PAUSE = 2.0
"""Seconds that the picture stands still where a live stream sent nothing: nobody wants to watch an outage."""
_SHORTEST_SIDE = 16
_H264 = ("libx264", "libopenh264")
_ENCODERS = (*_H264, "mpeg4")
"""Of MP4, the best first; those of graphics cards are listed also where there is no card."""


class VideoFormat(StrEnum):
    WEBM = "webm"
    MP4 = "mp4"


class Encoder(Protocol):
    def write(self, pixels_HWC: Image) -> None:
        """A frame, RGB, of the file's size. Raises UnwritableResults."""

    def close(self) -> None:
        """Finish the file, so that it can be played. May be called again. Raises UnwritableResults."""


class VideoFile:
    """A WebM. `size`: height and width; odd sides get one more row or column, since colours have half as many.

    What a full disk cost OpenCV does not say: room is looked for before each frame, and the frames are counted at the
    end.
    """

    def __init__(self, path: Path, size: Size, frames_per_second: float) -> None:
        self._path = path
        self._size = size
        self._written = 0
        quiet_opencv()
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # OpenCV would say the same of a folder that may not be written to as of everything else.
            path.open("wb").close()
        require_space(path)
        height, width = encoded_size(size)
        codec = cv2.VideoWriter.fourcc(*"VP80")
        # OpenCV wonders aloud at VP8 in WebM, and writes it.
        with decoder_messages():
            self._writer = cv2.VideoWriter(
                str(path.absolute()), cv2.CAP_FFMPEG, codec, frames_per_second, (width, height)
            )
        if not self._writer.isOpened():
            raise unwritable(path, f"no VP8 has {width} x {height} pixels at {frames_per_second:g} frames/s")

    def write(self, pixels_HWC: Image) -> None:
        """A frame, RGB, of the file's size. Raises UnwritableResults."""
        require_space(self._path)
        self._writer.write(cv2.cvtColor(padded(pixels_HWC), cv2.COLOR_RGB2BGR))
        self._written += 1

    def close(self) -> None:
        """Finish the file, so that it can be played. May be called again. Raises UnwritableResults."""
        if not self._writer.isOpened():
            return
        self._writer.release()
        there = _packets(self._path)
        if there < self._written:
            raise unwritable(self._path, f"of {self._written} frames only {there} found room")


def encoded_size(size: Size) -> Size:
    """Even sides, since colours have half as many pixels, and as many as encoders ask for."""
    height, width = (max(side + side % 2, _SHORTEST_SIDE) for side in size)
    return height, width


def padded(pixels_HWC: Image) -> Image:
    """With its last row and column as often again as the encoded size has more."""
    height, width = encoded_size((pixels_HWC.shape[0], pixels_HWC.shape[1]))
    below, right = height - pixels_HWC.shape[0], width - pixels_HWC.shape[1]
    if not below and not right:
        return pixels_HWC
    return np.pad(pixels_HWC, ((0, below), (0, right), (0, 0)), mode="edge")


def _packets(path: Path) -> int:
    """Undecoded, which takes a hundredth of a millisecond each."""
    capture = open_capture(str(path.absolute()), {cv2.CAP_PROP_FORMAT: -1})
    count = 0
    while capture.grab():
        count += 1
    capture.release()
    return count


class Mp4File:
    """An MP4 in fragments, which can be played as far as it was written, whatever ended it.

    `sound`: the file whose first track of sound it gets.
    """

    def __init__(self, path: Path, size: Size, frames_per_second: float, sound: Path | None = None) -> None:
        self._path = path
        height, width = encoded_size(size)
        frames = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(frames_per_second))
        heard = () if sound is None else ("-i", f"file:{sound}", "-map", "0:v", "-map", "1:a:0?", "-c:a", "aac")
        # Sound that ends before the picture is followed by silence: `-shortest` would end the picture, too.
        codec = (*_mp4_codec(), "-pix_fmt", "yuv420p", *(("-af", "apad", "-shortest") if heard else ()))
        # Of a second each, in microseconds: what is not written yet is all that a full disk costs.
        fragments = ("-movflags", "+empty_moov+default_base_moof", "-frag_duration", "1000000")
        command = (find_ffmpeg(), "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *frames, "-i", "pipe:0")
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - as long as the process that writes to it
            self._process = subprocess.Popen(
                [*command, *heard, *codec, *fragments, f"file:{path}"],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                # A Ctrl-C is for this process, which then ends the file.
                start_new_session=True,
            )

    def write(self, pixels_HWC: Image) -> None:
        """A frame, RGB, of the file's size. Raises UnwritableResults."""
        require_space(self._path)
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(np.ascontiguousarray(padded(pixels_HWC)).data)
        except BrokenPipeError:
            raise self._failure() from None

    def close(self) -> None:
        """Finish the file. May be called again. Raises UnwritableResults."""
        if self._process.returncode is None:
            error = self._failure()
            if self._process.returncode:
                raise error

    def _failure(self) -> UnwritableResults:
        """Wait for ffmpeg's end; what it said last."""
        try:
            self._process.communicate()
        except BrokenPipeError:  # what was buffered for a process that is gone
            self._process.wait()
        self._log.seek(0)
        said = self._log.read().decode(errors="replace").strip().splitlines()
        self._log.close()
        return unwritable(self._path, f"ffmpeg says {said[-1] if said else 'nothing'}")


def find_ffmpeg() -> str:
    """Raises InvalidConfiguration."""
    found = shutil.which("ffmpeg")
    if found is None:
        raise InvalidConfiguration(
            "--format mp4 needs the program ffmpeg, and none is on the PATH; install it, or leave --format out for "
            "WebM, which browsers play."
        )
    return found


def usual_format() -> VideoFormat:
    """MP4 where an ffmpeg encodes H.264, which takes a tenth of the time of OpenCV's VP8; else WebM."""
    program = shutil.which("ffmpeg")
    known = _encoders(program) if program is not None else ()
    return VideoFormat.MP4 if any(name in known for name in _H264) else VideoFormat.WEBM


def _mp4_codec() -> list[str]:
    known = _encoders(find_ffmpeg())
    encoder = next((name for name in _ENCODERS if name in known), "mpeg4")
    quality = {"libx264": ["-preset", "superfast", "-crf", "23"], "libopenh264": ["-b:v", "4M"]}
    return ["-c:v", encoder, *quality.get(encoder, ["-q:v", "4"])]


@cache
def _encoders(program: str) -> frozenset[str]:
    command = [program, "-hide_banner", "-encoders"]
    listed = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
    return frozenset(listed.decode(errors="replace").split())


class Videos:
    """A video for each medium, also for live streams. `path`: of the file that the last frame went to.

    `names`: shared by all who write into the folder.
    """

    def __init__(self, folder: Path, artist: Artist, kind: VideoFormat, names: FreeNames | None = None) -> None:
        self._folder = folder
        self._artist = artist
        self._kind = kind
        self._names = names or FreeNames()
        self._open: dict[PurePath, _Track] = {}
        self.path: Path | None = None
        if kind is VideoFormat.MP4:
            find_ffmpeg()

    def write(self, detected: Detected) -> None:
        """Raises UnwritableResults."""
        medium = detected.frame.medium
        if medium.name not in self._open:
            if medium.kind is Kind.VIDEO:  # one after another; live streams come in turn
                self.close()
            self._open[medium.name] = self._begin(detected)
        track = self._open[medium.name]
        self.path = track.path
        track.write(self._artist.draw(detected), detected.frame.seconds)

    def close(self) -> None:
        """All files, also where one of them cannot be finished. Raises the first UnwritableResults."""
        tracks, self._open = list(self._open.values()), {}
        errors = [error for track in tracks if (error := _closed(track.close)) is not None]
        if errors:
            raise errors[0]

    def _begin(self, detected: Detected) -> "_Track":
        medium = detected.frame.medium
        stem = stem_of(detected.frame)
        names = [PurePath(f"{name}.{self._kind}") for name in (stem, medium.name)]
        path = self._folder / self._names.give(*names)
        with writing(path):
            make_results_folder(self._folder)
        height, width = detected.frame.pixels_HWC.shape[:2]
        return _Track(path, (height, width), medium, self._kind)


def _closed(close: Callable[[], None]) -> UnwritableResults | None:
    try:
        close()
    except UnwritableResults as error:
        return error
    return None


class _Track:
    """One medium's file: frames at their times."""

    def __init__(self, path: Path, size: Size, medium: Medium, kind: VideoFormat) -> None:
        self.path = path
        self._size = size
        self._rate = medium.frames_per_second or ASSUMED_RATE
        self._most = round(LONGEST_PAUSE * self._rate) if medium.kind is Kind.LIVE else None
        self._last: Image | None = None
        self._count = 0
        self._skipped = 0
        """Frames by which a live stream's pauses were shortened."""
        self._file: Encoder
        if kind is VideoFormat.MP4:
            source = Path(medium.origin)
            sound = source.absolute() if medium.kind is Kind.VIDEO and source.is_file() else None
            self._file = Mp4File(path, size, self._rate, sound)
        else:
            self._file = VideoFile(path, size, self._rate)

    def write(self, pixels_HWC: Image, seconds: float) -> None:
        place = round(seconds * self._rate) - self._skipped
        missing = place - self._count
        if self._last is not None and missing < 0:
            return
        if self._most is not None and missing > self._most:
            self._skipped += missing - self._most
            missing = self._most
        for _ in range(missing if self._last is not None else 0):
            self._write(self._last)
        self._last = fitted(pixels_HWC, self._size)
        self._write(self._last)

    def close(self) -> None:
        self._file.close()

    def _write(self, pixels_HWC: Image | None) -> None:
        assert pixels_HWC is not None
        self._file.write(pixels_HWC)
        self._count += 1


def fitted(pixels_HWC: Image, size: Size) -> Image:
    """A camera that comes back may send another size than before: fitted into the first one, between black bars."""
    if pixels_HWC.shape[:2] == size:
        return pixels_HWC
    scale = min(size[0] / pixels_HWC.shape[0], size[1] / pixels_HWC.shape[1])
    height, width = (max(1, round(side * scale)) for side in pixels_HWC.shape[:2])
    canvas = np.zeros((*size, 3), np.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    canvas[top : top + height, left : left + width] = cv2.resize(
        pixels_HWC, (width, height), interpolation=cv2.INTER_AREA
    )
    return canvas
