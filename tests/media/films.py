"""Real media, made by ffmpeg when a test first asks for it: small, short, and what is in each frame is known.

Frame n of a film with `STRIPES` shows n white columns of `COLUMN` pixels on black, so that its pixels tell its number.
"""

import json
import random
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

FRAMES, RATE, WIDTH, HEIGHT = 20, 10, 96, 64
COLUMN = 4
LONG_FRAMES = 60
"""Of films in several clusters, of which one may be damaged."""
_CORNERS = f"color=black:size={WIDTH}x{HEIGHT}:rate={RATE}:duration=1"
_PATCH = {"red": (0, 0), "lime": (1, 0), "blue": (0, 1)}
X264 = ("-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-threads", "1", "-crf", "10")


def _stripes(more: str = "", frames: int = FRAMES, size: tuple[int, int] = (WIDTH, HEIGHT)) -> tuple[str, ...]:
    pixels = f"color=black:size={size[0]}x{size[1]}:rate={RATE},format=gray,geq=lum='255*lt(X,{COLUMN}*N)'"
    # With noise packets have a size, and a file that is cut is cut within them.
    pixels += ",noise=alls=30:allf=t"
    return ("-f", "lavfi", "-i", f"{pixels},trim=end_frame={frames}{more}")


def _corners() -> tuple[str, ...]:
    """Red at the top left, green at the top right, blue at the bottom left."""
    half_width, half_height = WIDTH // 2, HEIGHT // 2
    boxes = (
        f"drawbox={x * half_width}:{y * half_height}:{half_width}:{half_height}:{colour}:fill"
        for colour, (x, y) in _PATCH.items()
    )
    return ("-f", "lavfi", "-i", ",".join((_CORNERS, *boxes)))


_SOUND = ("-f", "lavfi", "-i", "sine=duration=1")
_UNEVEN = ",settb=1/1000,setpts='if(lt(N,10),N*40,400+(N-10)*160)'"
"""Ten frames at 25 a second, then ten at 6.25: two seconds in all, if the last lasts as long as the one before."""

RECIPES: dict[str, tuple[str, ...]] = {
    "h264.mp4": (*_stripes(), *X264),
    "mpeg4.mp4": (*_stripes(), "-c:v", "mpeg4", "-q:v", "2", "-threads", "1"),
    "h264.mkv": (*_stripes(), *X264),
    "mpeg4.avi": (*_stripes(), "-c:v", "mpeg4", "-q:v", "2", "-g", "1", "-threads", "1"),
    "h264.avi": (*_stripes(), *X264),
    "mpeg4-reordered.avi": (*_stripes(), "-c:v", "mpeg4", "-q:v", "2", "-bf", "2", "-threads", "1"),
    "mjpeg.avi": (*_stripes(), "-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj420p", "-threads", "1"),
    "vp8.webm": (*_stripes(), "-c:v", "libvpx", "-b:v", "1M", "-threads", "1"),
    "vp9.webm": (*_stripes(), "-c:v", "libvpx-vp9", "-b:v", "1M", "-threads", "1"),
    "long.mkv": (*_stripes(frames=LONG_FRAMES), *X264, "-cluster_time_limit", "500"),
    "long.webm": (
        *_stripes(frames=LONG_FRAMES),
        *("-c:v", "libvpx", "-b:v", "1M", "-g", "5", "-threads", "1", "-cluster_time_limit", "500"),
    ),
    "h264.ts": (*_stripes(), *X264),
    "bare.h264": (*_stripes(), *X264),
    "fragments.mp4": (*_stripes(), *X264, "-movflags", "+frag_keyframe+empty_moov"),
    "fast-start.mp4": (*_stripes(), *X264, "-movflags", "+faststart"),
    "hidden-frames.webm": (
        *("-f", "lavfi", "-i", f"testsrc=size={WIDTH}x{HEIGHT}:rate={RATE}:duration=2.4"),
        *("-c:v", "libvpx", "-auto-alt-ref", "1", "-lag-in-frames", "16", "-arnr-maxframes", "7", "-b:v", "100k"),
        *("-threads", "1"),
    ),
    "uneven.mp4": (*_stripes(_UNEVEN), *X264, "-fps_mode", "vfr"),
    "uneven.mkv": (*_stripes(_UNEVEN), *X264, "-fps_mode", "vfr"),
    "odd.mkv": (*_stripes(size=(97, 63)), "-c:v", "ffv1", "-threads", "1"),
    "corners.mp4": (*_corners(), *X264),
    "with-sound.mp4": (*_stripes(frames=10), *_SOUND, *X264, "-c:a", "aac"),
    "sound.m4a": (*_SOUND, "-c:a", "aac"),
    "sound.wav": _SOUND,
    "no-frames.mp4": (*_stripes(), *X264, "-frames:v", "0"),
    "av1.mp4": (*_stripes(frames=10), "-c:v", "libaom-av1", "-cpu-used", "8", "-pix_fmt", "yuv420p", "-threads", "1"),
}
"""What ffmpeg is told, by the name of the file; the rest is made of these."""


_ONE = 1 << 16
MATRICES = {
    "90": (0, _ONE, 0, -_ONE, 0, 0, 0, 0, 1 << 30),
    "180": (-_ONE, 0, 0, 0, -_ONE, 0, 0, 0, 1 << 30),
    "270": (0, -_ONE, 0, _ONE, 0, 0, 0, 0, 1 << 30),
}
"""By degrees that a player turns the picture clockwise."""


class Films:
    """The path of a film by its name: one of `RECIPES`, or `rotated-90.mp4`, `cut-h264.mkv`, `corrupt-mjpeg.avi`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            self._make(name, path)
        return path

    def _make(self, name: str, path: Path) -> None:
        makers: dict[str, Callable[[str, Path], None]] = {
            "rotated-": self._rotate,
            "cut-": self._cut,
            "corrupt-": self._corrupt,
            "hidden-": lambda _, path: self._hide(path),
            "unknown-": lambda _, path: self._rename_codec(path),
        }
        maker = next((make for beginning, make in makers.items() if name.startswith(beginning)), None)
        if maker is None:
            ffmpeg(*RECIPES[name], str(path))
        else:
            maker(name.partition("-")[2], path)

    def _rotate(self, angle: str, path: Path) -> None:
        """With a display matrix, as phones write them; versions of ffmpeg differ in how they are told."""
        data = bytearray(self("corners.mp4").read_bytes())
        # Behind version, times, track, duration, layer and volume: ISO/IEC 14496-12, track header box.
        matrix = data.index(b"tkhd") + 4 + 40
        data[matrix : matrix + 36] = struct.pack(">9i", *MATRICES[angle.partition(".")[0]])
        path.write_bytes(data)

    def _cut(self, name: str, path: Path) -> None:
        whole = self(name).read_bytes()
        path.write_bytes(whole[: len(whole) * 2 // 3])

    def _corrupt(self, name: str, path: Path) -> None:
        """Noise in place of frames 9 and 10."""
        data = bytearray(self(name).read_bytes())
        noise = random.Random(0)
        for start, size in packets(self(name))[9:11]:
            data[start : start + size] = noise.randbytes(size)
        path.write_bytes(data)

    def _hide(self, path: Path) -> None:
        """In two passes, for only the second one knows what later frames could refer to."""
        log = ("-passlogfile", str(path.with_suffix("")))
        ffmpeg(*RECIPES[path.name], *log, "-pass", "1", "-f", "null", "-")
        ffmpeg(*RECIPES[path.name], *log, "-pass", "2", str(path))

    def _rename_codec(self, path: Path) -> None:
        path.write_bytes(self("h264.mp4").read_bytes().replace(b"avc1", b"zzz9"))


def ffmpeg(*arguments: str) -> None:
    subprocess.run(["ffmpeg", "-hide_banner", "-loglevel", "error", "-nostdin", "-y", *arguments], check=True)


def packets(path: Path) -> list[tuple[int, int]]:
    """First byte and size of each of the video's packets, in the order of the file."""
    entries = ("-select_streams", "v:0", "-show_entries", "packet=pos,size", "-of", "json")
    output = subprocess.run(["ffprobe", "-v", "error", *entries, str(path)], check=True, stdout=subprocess.PIPE).stdout
    return [(int(packet["pos"]), int(packet["size"])) for packet in json.loads(output)["packets"]]


def number_shown(pixels_HWC: npt.NDArray[np.uint8]) -> int:
    """Of a frame with stripes."""
    return round(float((pixels_HWC.mean(axis=(0, 2)) > 127).sum()) / COLUMN)
