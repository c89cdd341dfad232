"""What the structure of a video's file says where OpenCV only says that it opens nothing: cut off, sound only, a codec.

Only headers are looked at, and only for a sentence: what a file holds, FFmpeg decides.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

_INDEX_BYTES: Final = 64 << 20
"""More than the index of any film has."""
_HEAD_BYTES: Final = 1 << 20
_SOUND: Final = re.compile(rb"ID3|fLaC|\xff[\xf0-\xff]|RIFF....WAVE|FORM....AIF|#!AMR", re.DOTALL)
_PICTURES: Final = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
"""Brands of what is built as MP4 is, and no video."""
AVI: Final = "AVI"
MATROSKA: Final = "Matroska or WebM"
_MATROSKA_START: Final = b"\x1a\x45\xdf\xa3"
_SEGMENT: Final = b"\x18\x53\x80\x67"
_TRACK: Final = re.compile(rb"\x86[\x81-\xc0]([AV])_([A-Z0-9/_.]+)")
"""Matroska's element of a track's codec."""


@dataclass(frozen=True)
class Container:
    """`kind`: what people call it, None for what is none of the known ones. `cut`: its end is missing.

    `codec`: of its video, as the file names it; None without one. `sound`: it holds sound. `counted`: it knows how many
    frames it holds, which others only guess from the time that they last.
    """

    kind: str | None
    cut: bool = False
    codec: str | None = None
    sound: bool = False
    counted: bool = False


def look_at(path: Path) -> Container:
    """Raises OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[8:12] in _PICTURES:
            return Container(None)
        if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
            return _mp4(file, size)
    if head.startswith(b"RIFF") and head[8:12] == b"AVI ":
        return _avi(head, size)
    if head.startswith(_MATROSKA_START):
        return _matroska(head, size)
    if head.startswith(b"OggS"):
        return Container(
            "Ogg", codec="Theora" if b"\x80theora" in head[:4096] else None, sound=b"vorbis" in head[:4096]
        )
    return Container("sound", sound=True) if _SOUND.match(head) else Container(None)


def _mp4(file: BinaryIO, size: int) -> Container:
    cut, index = False, None
    for kind, body, end in _boxes(file, size):
        cut = end > size
        if kind == b"moov" and not cut:
            file.seek(body)
            index = file.read(min(end - body, _INDEX_BYTES))
    if index is None:
        # Written last: a recording that was killed has none, however long it is.
        return Container("MP4", cut=True)
    tracks = [(_after(track, b"hdlr", 8), _after(track, b"stsd", 12)) for track in index.split(b"trak")[1:]]
    codec = next((_text(codec) for handler, codec in tracks if handler == b"vide"), None)
    sound = any(handler == b"soun" for handler, _ in tracks)
    # Where it comes in fragments, no index counts them all.
    return Container("MP4", cut, codec, sound, counted=b"mvex" not in index)


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind, first byte of the content and end of each box on the top; the last end may lie behind the file's."""
    start = 0
    while start + 8 <= size:
        file.seek(start)
        length, kind = struct.unpack(">I4s", file.read(8))
        body = start + 8
        if length == 1:
            length = int.from_bytes(file.read(8), "big")
            body += 8
        end = size if length == 0 else start + length
        yield kind, body, end
        if end < body:
            return
        start = end


def _avi(head: bytes, size: int) -> Container:
    cut = 8 + int.from_bytes(head[4:8], "little") > size
    stream = re.search(rb"strh....vids(....)", head, re.DOTALL)
    return Container(AVI, cut, _text(stream[1]) if stream else None, sound=b"auds" in head, counted=True)


def _matroska(head: bytes, size: int) -> Container:
    kinds = [(found[1], _text(found[2])) for found in _TRACK.finditer(head)]
    codec = next((name for kind, name in kinds if kind == b"V"), None)
    at = head.find(_SEGMENT)
    cut = at >= 0 and _segment_end(head, at + len(_SEGMENT)) > size
    return Container(MATROSKA, cut, codec, sound=any(kind == b"A" for kind, _ in kinds))


def _segment_end(head: bytes, at: int) -> int:
    """Where the segment ends whose length stands at `at`; 0 where it is not said, as in what was once live."""
    first = head[at] if at < len(head) else 0
    width = 9 - first.bit_length()
    if width > 8:
        return 0
    value = int.from_bytes(head[at : at + width], "big") & ((1 << 7 * width) - 1)
    return 0 if value == (1 << 7 * width) - 1 else at + width + value


def _after(data: bytes, name: bytes, distance: int) -> bytes:
    """Four bytes behind the first `name`."""
    at = data.find(name)
    return b"" if at < 0 else data[at + len(name) + distance : at + len(name) + distance + 4]


def _text(name: bytes) -> str:
    return name.decode("latin-1").strip("\0 ")
