"""Live streams and webcams, through OpenCV.

What FFmpeg reads of rtsp, rtmp and http addresses: cameras, HLS, MJPEG, video without an end.
"""

import math
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path, PurePath
from urllib.parse import urlsplit

import cv2
import numpy as np
import urllib3

from masktrain_trainer.config import shown_url
from masktrain_trainer.data.geometry import Image
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.stores.web import login_header

from .base import Source, SourceOptions
from .newest import Connection, Patience, open_live
from .video import quiet_opencv

DEFAULT_PORTS = {"rtsp": 554, "rtsps": 322, "rtmp": 1935, "rtmps": 443, "http": 80, "https": 443, "tcp": 0, "udp": 0}
"""The schemes of streams with their ports; bare TCP and UDP have none of their own."""
PROBE_SECONDS = 3.0
"""For each question to a server that gave no video: whether it is there, and what it answers."""
_ANSWER_BYTES = 4096
MOST_FRAMES_PER_SECOND = 240.0
"""Above it stands a clock's resolution, which some streams give for a rate."""
LONGEST_NAME = 100
LONGEST_SEGMENT = 40
"""Of an address: longer ones are tokens."""


def open_stream(url: str, options: SourceOptions, *, name: PurePath | None = None, origin: str | None = None) -> Source:
    """The stream behind an address of DEFAULT_PORTS' schemes, with its first frame.

    `name` and `origin` of its medium come from the address, unless given. A stream that turns out to have an end is
    no live source: it gives every frame. Raises UserError.
    """
    shown = shown_address(url)
    return open_live(_Stream(url, name or stream_name(shown), origin or shown), options)


def open_webcam(number: int, options: SourceOptions) -> Source:
    """The camera `/dev/video<number>`, with its first frame. Raises UserError."""
    return open_live(_Webcam(number), options)


def is_stream(text: str) -> bool:
    """By its scheme; a page or a file on the web may have the same."""
    scheme, separator, _ = text.lower().partition("://")
    return bool(separator) and scheme in DEFAULT_PORTS


def shown_address(url: str) -> str:
    """For people: without login, query and what may be a key. Raises UserError if it is no address of a stream."""
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower()
    try:
        parts = urlsplit(url)
        valid = scheme in DEFAULT_PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number: the beginning of a password with a slash in it
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise InvalidConfiguration(
            f"The address of a stream ({scheme[:10]}://…) is not one that can be read: write it as "
            "rtsp://camera.example:554/door, with one of " + ", ".join(sorted(DEFAULT_PORTS)) + " in front."
        )
    host, slash, path = shown_url(f"https://{rest}").removeprefix("https://").partition("/")
    segments = path.split("/")
    if scheme.startswith("rtmp"):
        # Behind the application stands the stream's name, which is its key where people send, too.
        segments = [*segments[:1], *(["…"] if segments[1:] else [])]
    return f"{scheme}://{host}{slash}{'/'.join(map(_without_key, segments))}"


def _without_key(segment: str) -> str:
    """Cameras take `user=admin&password=…` in a path, too."""
    return "…" if "=" in segment or len(segment) > LONGEST_SEGMENT else segment


def stream_name(shown: str) -> PurePath:
    """`camera.example-8554-door` for rtsp://camera.example:8554/door."""
    words = re.sub(r"[^A-Za-z0-9._]+", "-", shown.partition("://")[2])
    return PurePath(words[:LONGEST_NAME].strip("-.") or "stream")


@dataclass(frozen=True)
class _Stream:
    url: str
    name: PurePath
    origin: str

    def connect(self, patience: Patience) -> Connection | None:
        _prepare_opencv()
        waits = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            math.ceil(1000 * patience.opening),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            math.ceil(1000 * patience.reading),
        ]
        capture = cv2.VideoCapture(self.url, cv2.CAP_FFMPEG, waits)
        return _Capture(capture, sent_ahead=self.url[:4].lower() == "http") if capture.isOpened() else None

    def objection(self, silent_seconds: float | None) -> str:
        if silent_seconds is not None:
            return (
                f"{self.origin} sent no picture within {silent_seconds:g} s: "
                "look whether it runs, and whether the address is right."
            )
        return f"{self.origin} {_why_no_video(self.url)}."


def _why_no_video(url: str) -> str:
    """OpenCV says only that it is none: the rest of a sentence that begins with the address."""
    parts = urlsplit(url)
    if parts.scheme.lower() == "udp":
        return "gives no video that can be read"
    host, port = parts.hostname or "", parts.port or DEFAULT_PORTS[parts.scheme.lower()]
    try:
        socket.create_connection((host, port), PROBE_SECONDS).close()
    except ConnectionRefusedError:
        return f"cannot be opened: nothing listens on port {port} of {host}"
    except socket.gaierror:
        return f"cannot be opened: no computer called {host} is known"
    except OSError as error:
        return f"cannot be opened: {host} is not reached ({error.strerror or 'no answer'})"
    questions = {"http": _http_refusal, "https": _http_refusal, "rtsp": _rtsp_refusal}
    ask = questions.get(parts.scheme.lower())
    refusal = ask(url) if ask is not None else None
    return refusal or "gives no video that can be read: look at its path and login, and at the codec"


def _http_refusal(url: str) -> str | None:
    retries = urllib3.Retry(total=None, connect=0, read=0, status=0, redirect=5)
    try:
        with urllib3.PoolManager(timeout=PROBE_SECONDS, retries=retries) as pool:
            answer = pool.request("GET", url, headers=login_header(url), preload_content=False)
            answer.close()
    except (urllib3.exceptions.HTTPError, ValueError):
        return None
    return _refusal(answer.status, answer.reason or "", answer.headers.get("WWW-Authenticate", ""), url)


def _rtsp_refusal(url: str) -> str | None:
    """By RTSP's own question for a description (RFC 2326, 10.2), which is close to HTTP's."""
    parts = urlsplit(url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    headers = {"CSeq": "1", "Accept": "application/sdp", **login_header(url)}
    lines = [f"DESCRIBE {address} RTSP/1.0", *(f"{key}: {text}" for key, text in headers.items()), "", ""]
    port = parts.port or DEFAULT_PORTS["rtsp"]
    try:
        with socket.create_connection((parts.hostname or "", port), PROBE_SECONDS) as connection:
            connection.sendall("\r\n".join(lines).encode())
            answer = connection.recv(_ANSWER_BYTES).decode("latin-1")
    except OSError:
        return None
    first = re.match(r"RTSP/\d\.\d (\d{3}) ?([^\r\n]*)", answer)
    if first is None:
        return None
    schemes = " ".join(re.findall(r"(?im)^www-authenticate:\s*(.*)$", answer))
    return _refusal(int(first[1]), first[2], schemes, url)


def _refusal(status: int, reason: str, schemes: str, url: str) -> str | None:
    """`schemes`: of logins that the server takes, with which it answers who gives none, or a wrong one."""
    if status < 400:
        return None
    if status == 401 and not login_header(url):
        return "cannot be opened: it asks for a login; write user:password@ in front of the host's name"
    if status == 401 and "basic" in schemes.lower():
        return "cannot be opened: its server refuses the login in the address; correct user and password"
    # FFmpeg knows more ways to log in than were asked with here.
    return None if status == 401 else f"cannot be opened: the server answers {status} {reason}".rstrip()


@dataclass(frozen=True)
class _Webcam:
    number: int

    @property
    def name(self) -> PurePath:
        return PurePath(f"webcam-{self.number}")

    @property
    def origin(self) -> str:
        return f"Webcam {self.number}"

    def connect(self, patience: Patience) -> Connection | None:
        del patience  # Video4Linux waits 10 s for a frame.
        _prepare_opencv()
        capture = cv2.VideoCapture(self.number, cv2.CAP_V4L2)
        return _Capture(capture) if capture.isOpened() else None

    def objection(self, silent_seconds: float | None) -> str:
        return webcam_objection(self.number, Path("/dev"), silent_seconds)


def webcam_objection(number: int, devices: Path, silent_seconds: float | None) -> str:
    """Why a camera gives no frame, by the device files that are there."""
    device = devices / f"video{number}"
    if not device.exists():
        there = sorted((path.name for path in devices.glob("video[0-9]*")), key=lambda name: (len(name), name))
        others = f"there are {', '.join(there)}" if there else "there is no camera at all"
        return f"There is no webcam {number} ({device}): {others}."
    if not os.access(device, os.R_OK | os.W_OK):
        return f"Webcam {number} ({device}) may not be read by this user, who is usually to be in the group video."
    if silent_seconds is not None:
        return f"Webcam {number} ({device}) sent no picture within {silent_seconds:g} s."
    return f"Webcam {number} ({device}) cannot be read: another program may hold it, or it is no camera."


class _Capture:
    def __init__(self, capture: cv2.VideoCapture, *, sent_ahead: bool = False) -> None:
        self._capture = capture
        rate, frames = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.frames_per_second = rate if 0 < rate <= MOST_FRAMES_PER_SECOND else None
        # Without an end OpenCV makes a huge number of FFmpeg's unknown length.
        self.frames = int(frames) if 0 < frames < 2**31 else None
        # MJPEG comes as it is taken and has no times; FFmpeg counts 25 a second.
        motion_jpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        self._has_times = sent_ahead and not motion_jpeg

    @property
    def position(self) -> float | None:
        if not self._has_times and self.frames is None:
            return None
        return float(self._capture.get(cv2.CAP_PROP_POS_MSEC)) / 1000

    def advance(self) -> bool:
        return self._capture.grab()

    def pixels(self) -> Image | None:
        taken, pixels_HWC = self._capture.retrieve()
        return pixels_HWC.astype(np.uint8, copy=False) if taken else None

    def close(self) -> None:
        self._capture.release()


def _prepare_opencv() -> None:
    """Before each stream; only environment variables reach OpenCV's FFmpeg, and what somebody has set stays.

    FLV, which is RTMP's, would be looked at for 90 s where it has no sound, not for 5 s as all else. RTSP goes over
    TCP, whose pictures are whole, if the server has it.
    """
    quiet_opencv()
    os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "rtsp_flags;prefer_tcp|analyzeduration;5000000")
