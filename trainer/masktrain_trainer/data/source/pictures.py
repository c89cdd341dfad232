"""The one reader of pictures, for training, validation and detection: a file to pixels, or why there are none.

OpenCV decodes what YOLOv5 decodes with it. Pillow reads every header first, and the pixels of the few formats and
depths that OpenCV does not read, or not without filling the memory. What a file is called tells neither anything.

OpenCV's decoders write their complaints to the process's standard error, without the file's name; they are caught here,
since "premature end of data" is the only sign of many a damaged JPEG that still decodes.
"""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any, TypeVar

import cv2
import numpy as np
import numpy.typing as npt
import PIL.Image
from PIL import ImageOps, features
from PIL.TiffImagePlugin import BITSPERSAMPLE, COMPRESSION, SAMPLEFORMAT, TiffImageFile

from ..geometry import Image

T = TypeVar("T")

_SUFFIXES = {
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "JPEG": (".jfif", ".jpe", ".jpeg", ".jpg", ".mpo"),
    "PNG": (".apng", ".png"),
    "PPM": (".pbm", ".pfm", ".pgm", ".pnm", ".ppm"),
    "TIFF": (".dng", ".tif", ".tiff"),
    "WEBP": (".webp",),
    "JPEG2000": (".j2c", ".j2k", ".jp2", ".jpc", ".jpf", ".jpx"),
    "AVIF": (".avif", ".avifs"),
}
"""Pillow's names of the formats; an MPO begins with a JPEG, a DNG with the TIFF of its preview. None of their readers
runs another program, as that of EPS does.
"""
# The module is looked for and not imported: it brings a library of several megabytes.
_MISSING = {"JPEG2000": not features.check_codec("jpg_2000"), "AVIF": find_spec("PIL._avif") is None}
FORMATS = tuple(name for name in _SUFFIXES if not _MISSING.get(name))
READ_SUFFIXES = frozenset(suffix for name in FORMATS for suffix in _SUFFIXES[name])
"""Endings, in lower case, of the files that are taken for pictures; what a file is, its first bytes say."""
_RAW = frozenset({".3fr", ".arw", ".cr2", ".cr3", ".nef", ".nrw", ".orf", ".pef", ".raf", ".raw", ".rw2", ".srw"})
_DRAWN = frozenset({".ai", ".emf", ".eps", ".pdf", ".psb", ".psd", ".svg", ".svgz", ".wmf", ".xcf"})
_OTHER = frozenset(
    {".bpg", ".dcm", ".exr", ".fits", ".hdr", ".heic", ".heif", ".hif", ".icns", ".ico", ".jxl", ".jxr", ".pcx"}
)
_OLD = frozenset({".qoi", ".ras", ".sgi", ".tga", ".xbm", ".xpm"})
_UNREAD = _RAW | _DRAWN | _OTHER | _OLD
LIKELY_PICTURES = _UNREAD.union(*_SUFFIXES.values()) - READ_SUFFIXES
"""Endings of pictures that are not read, and therefore worth a word."""

LARGEST_PICTURE = 1 << 30
"""Bytes of a file: 128 million pixels of six bytes fit."""
SMALLEST_SIDE = 10
"""Pixels; in training smaller pictures are taken for mistakes, as in YOLOv5."""
MOST_PIXELS = 128_000_000
"""384 MB once decoded, in each of several processes; aerial pictures of 10,000 x 10,000 pixels still fit."""
GREEDY = {"AVIF": "an AVIF", "JPEG2000": "a JPEG 2000", "WEBP": "an animated WebP"}
"""Formats whose decoders, by Pillow, hold so many whole pictures at once that only half as many pixels are taken:
about 1.2 GB for 64 million."""

JPEG_START, JPEG_END, JPEG_SCAN = b"\xff\xd8", b"\xff\xd9", b"\xff\xda"
MOST_SCANS, MOST_SEGMENTS = 100, 10_000
"""A progressive JPEG has about ten scans, and its preview as many; segments come before the first."""
# libjpeg's words for pixels that are wrong; it remarks on harmless things, too, such as extraneous bytes.
SIGNS_OF_DAMAGE = ("premature end", "bad huffman code", "unsupported marker", "instead of rst")
EXTRANEOUS = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
HOLE = bytes(64)
"""NUL bytes in a row that no honest pixels make: with the usual tables three blocks of the finest pattern."""
_WITHOUT_LENGTH = frozenset(bytes([code]) for code in (0x00, 0x01, *range(0xD0, 0xDA), 0xFF))
"""Second bytes of markers that nothing follows, and of what is no marker."""
WEBP_ANIMATION = 0x02
"""Flag of a file whose decoder keeps several whole canvases, however small its frames are."""
PILLOWS_COMPRESSIONS = frozenset({34925, 50000, 50001})
"""Of TIFF: LZMA, Zstandard and WebP, which OpenCV's own libtiff is built without."""
WHITES = (1, 255, 65_535, 2**32 - 1)
"""Of pictures of 32-bit fractions: see `_eight_bits`."""
ROWS = 256
"""That are turned to RGB at a time."""

NO_PICTURE = "it cannot be decoded as an image"
CORRUPT = "its image data is corrupt"
CUT_JPEG = "it is a truncated JPEG: its end is missing"
_STRANGERS = (
    (re.compile(rb"\0+\Z"), "it holds nothing but NUL bytes"),
    (re.compile(rb"....ftyp(?!avi[fs])", re.DOTALL), "it is HEIC or a film; save it as JPEG or PNG"),
    (re.compile(rb"8BPS"), "it is a Photoshop file; save it as JPEG or PNG"),
    (re.compile(rb"%PDF|%!PS"), "it is PDF or PostScript; save it as JPEG or PNG"),
    (re.compile(rb"version https://git-lfs"), "it is a pointer of Git LFS; fetch the file with git lfs pull"),
    (re.compile(rb"(\xef\xbb\xbf)?\s*<[!?a-zA-Z]"), "it is text: a web page, SVG or XML"),
)
"""First bytes of what often bears a picture's name, and what is said about it."""


@dataclass(frozen=True)
class UnreadablePicture:
    """`reason`: what is wrong with a picture, as the rest of a sentence that began with its name."""

    reason: str


_STANDARD_ERROR = threading.Lock()
"""Of the whole process: two threads that turned it away at a time would not find back to it."""


class _Refused(Exception):
    """Within this module; its text becomes the reason of an UnreadablePicture."""


def read_picture(path: Path, *, smallest_side: int = 1) -> Image | UnreadablePicture:
    """The pixels of a file, as `decode_picture` gives them, of what `read_content` reads."""
    content = read_content(path)
    return content if isinstance(content, UnreadablePicture) else decode_picture(content, smallest_side=smallest_side)


def read_content(path: Path) -> bytes | UnreadablePicture:
    """The bytes of a picture's file. Errors of the volume are raised: they may pass."""
    try:
        if path.stat().st_size > LARGEST_PICTURE:
            return UnreadablePicture(f"its file is larger than {LARGEST_PICTURE >> 30} GiB")
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        return UnreadablePicture(f"it cannot be read ({error.strerror})")


def decode_picture(data: bytes, *, smallest_side: int = 1) -> Image | UnreadablePicture:
    """Pixels (H, W, 3) with the EXIF orientation applied; of several frames or pages the first.

    Alpha is dropped and not blended. 16 bits become their upper 8; for 32 bits see `_eight_bits`.
    """
    try:
        picture = _decoded(data)
    except _Refused as refused:
        return UnreadablePicture(str(refused))
    height, width = picture.shape[:2]
    if min(height, width) < smallest_side:
        return UnreadablePicture(f"it measures {width} x {height} pixels, less than {smallest_side} a side")
    return picture


def _decoded(data: bytes) -> Image:
    if not data:
        raise _Refused("it is an empty file")
    # No marker of a scan stands within one: each costs a look at all pixels, and a few bytes make another.
    if data.startswith(JPEG_START) and _scans(data) > MOST_SCANS:
        raise _Refused(f"it is a JPEG of more than {MOST_SCANS} scans")
    header = _header(data)
    by_pillow = _is_for_pillow(header, data)
    greedy = GREEDY.get(header.format or "") if by_pillow else None
    most = MOST_PIXELS // 2 if greedy else MOST_PIXELS
    # Before a pixel is decoded, for a small file can be a huge picture.
    if header.width * header.height > most:
        suffix = f" for {greedy}" if greedy else ""
        raise _Refused(f"it measures {header.width} x {header.height} pixels, more than {most:,}{suffix}")
    return _pixels_by_pillow(header) if by_pillow else _pixels_by_opencv(data)


def _scans(data: bytes) -> int:
    # As `data.count(JPEG_SCAN)` does, in a tenth of its time, which was a tenth of the picture's.
    codes = np.frombuffer(data, np.uint8)
    return int(np.count_nonzero((codes[:-1] == JPEG_SCAN[0]) & (codes[1:] == JPEG_SCAN[1])))


def _header(data: bytes) -> PIL.Image.Image:
    """By Pillow, as in YOLOv5, and for the formats above: OpenCV itself would decode more of them."""
    header = _attempt(lambda: PIL.Image.open(io.BytesIO(data), formats=FORMATS))
    if header is not None:
        return header
    if data.startswith(JPEG_START) and JPEG_END not in data[-64:]:
        raise _Refused(CUT_JPEG)
    known = next((f": {words}" for start, words in _STRANGERS if start.match(data)), "")
    raise _Refused(NO_PICTURE + known)


def _attempt(step: Callable[[], T]) -> T | None:
    """What a step of Pillow gives, or None where the file leads it astray."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return step()
    except PIL.Image.DecompressionBombError:
        raise _Refused(f"it has more than {MOST_PIXELS:,} pixels") from None
    # The one place that catches everything: Pillow's readers raise whatever a damaged file leads them to, be it
    # KeyError, ZeroDivisionError or struct.error, and promise no more.
    except Exception:  # noqa: BLE001
        return None


def _is_for_pillow(header: PIL.Image.Image, data: bytes) -> bool:
    if isinstance(header, TiffImageFile):
        return not _opencv_reads(header)
    if header.format == "WEBP":
        return data[12:16] == b"VP8X" and bool(data[20] & WEBP_ANIMATION)
    # The last is PFM.
    return header.format in {"GIF", "JPEG2000", "AVIF"} or header.mode == "F"


def _opencv_reads(tiff: TiffImageFile) -> bool:
    bits = _bits(tiff)
    depths = {"P": (1, 4, 8), "CMYK": (8,)}.get(tiff.mode, (1, 8, 16))
    return max(bits) in depths and len(bits) <= 4 and tiff.tag_v2.get(COMPRESSION) not in PILLOWS_COMPRESSIONS


def _bits(tiff: TiffImageFile) -> tuple[int, ...]:
    """Of each channel."""
    bits: tuple[int, ...] = tiff.tag_v2.get(BITSPERSAMPLE, (1,))
    return bits


def _pixels_by_opencv(data: bytes) -> Image:
    with decoder_messages() as messages:
        try:
            picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error:
            picture = None
        complaints = messages().lower()
    is_jpeg = data.startswith(JPEG_START)
    if picture is None:
        # Near the end is enough: some programs write a few bytes behind the marker.
        raise _Refused(CUT_JPEG if is_jpeg and JPEG_END not in data[-64:] else NO_PICTURE)
    if any(sign in complaints for sign in SIGNS_OF_DAMAGE):
        raise _Refused(CORRUPT)
    if is_jpeg:
        _refuse_holes(data, complaints)
    return np.asarray(picture, np.uint8)


def _refuse_holes(data: bytes, complaints: str) -> None:
    """Raise _Refused for a JPEG of which a part was never written and reads as NUL bytes, which decode as pixels.

    Its end is then missing, or it has a row of NUL bytes that stands neither behind the end nor in padding before it.
    """
    scan, may_be_flat = _first_scan(data)
    # Not within the pixels, where 0xff is never followed by it; a preview has its own before them.
    if data.rfind(JPEG_END) < scan:
        raise _Refused(CUT_JPEG)
    hole = data.find(HOLE, scan)
    end = data.find(JPEG_END, scan) if hole >= 0 else hole
    if hole >= end:
        return
    left_over = EXTRANEOUS.search(complaints)
    if left_over is None and not may_be_flat:
        raise _Refused(CORRUPT)
    if left_over is not None and int(left_over[1]) < end - hole:
        raise _Refused(CORRUPT)


def _first_scan(data: bytes) -> tuple[int, bool]:
    """Where a JPEG's first scan begins, and whether NUL bytes can be its pixels.

    They can in a progressive one, and where every table for what varies within a block has, as its shortest code, all
    zeros, a symbol without a value: "the block ends here", as for the even surfaces of an optimised JPEG.
    """
    at, shortest, progressive = 2, list[int](), False
    for _ in range(MOST_SEGMENTS):
        at = data.find(b"\xff", at)
        marker = data[at + 1 : at + 2]
        if marker == JPEG_SCAN[1:]:
            return at, progressive or (bool(shortest) and not any(symbol & 0x0F for symbol in shortest))
        if at < 0 or not marker:
            break
        if marker in _WITHOUT_LENGTH:
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == b"\xc4":
            shortest += _shortest_codes(data[at + 4 : at + 2 + length])
        progressive |= b"\xc2" <= marker <= b"\xcf" and marker not in b"\xc4\xc8\xcc"
        at += 2 + length
    # libjpeg found one, by leaping over what is not understood here.
    return data.find(JPEG_SCAN), True


def _shortest_codes(tables: bytes) -> Iterator[int]:
    """The symbol that all zeros stand for in each of the Huffman tables for what varies within a block."""
    at = 0
    while at + 17 < len(tables):
        symbols = sum(tables[at + 1 : at + 17])
        if tables[at] >> 4 == 1 and symbols:
            yield tables[at + 17]
        at += 17 + symbols


def _pixels_by_pillow(picture: PIL.Image.Image) -> Image:
    with decoder_messages():
        loaded = _attempt(lambda: picture.load() is not None)
        # A broken EXIF block leaves the picture as it is, as OpenCV does.
        _attempt(lambda: ImageOps.exif_transpose(picture, in_place=True))
        pixels = _attempt(lambda: _as_rgb(picture)) if loaded else None
    if pixels is None:
        raise _Refused(CORRUPT)
    return pixels


def _as_rgb(picture: PIL.Image.Image) -> Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return np.repeat(_grey(picture)[..., None], 3, axis=2)
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    # Some rows at a time: Pillow takes four bytes for a pixel, and would hold another whole picture of them.
    for top in range(0, picture.height, ROWS):
        rows = picture.crop((0, top, picture.width, min(top + ROWS, picture.height)))
        pixels[top : top + ROWS] = np.asarray(rows.convert("RGB"))
    return pixels


def _grey(picture: PIL.Image.Image) -> npt.NDArray[np.uint8]:
    numbers = np.asarray(picture)
    if numbers.dtype.itemsize == 2:
        # Of TIFF there are 12 bits, too; JPEG 2000 of any depth comes as 16.
        depth = max(_bits(picture)) if isinstance(picture, TiffImageFile) else 16
        return (numbers >> (depth - 8)).astype(np.uint8)
    # Pillow has no mode for numbers without sign, and reads their bits as if they had one.
    if picture.mode == "I" and isinstance(picture, TiffImageFile) and picture.tag_v2.get(SAMPLEFORMAT, (1,))[0] == 1:
        numbers = numbers.view(np.uint32)
    return _eight_bits(numbers, 1 / picture.info.get("scale", 1.0))


def _eight_bits(numbers_HW: npt.NDArray[Any], scale: float = 1.0) -> npt.NDArray[np.uint8]:
    """Numbers of 32 bits as grey values; fractions are multiplied by `scale` before.

    Nothing in a file says which number is white. It is the least of 1 (of fractions only), 255, 65,535 and 2**32 - 1
    that no number of the picture exceeds, else the greatest one. What is below 0, or no number, is black.
    """
    top = float(np.max(numbers_HW, where=np.isfinite(numbers_HW), initial=0))
    if numbers_HW.dtype.kind != "f":
        # Of the upper bits, as with 16.
        shift = next(shift for shift in (0, 8, 24) if top < 256 << shift)
        return np.asarray(np.maximum(numbers_HW, 0) >> shift, np.uint8)
    white = next((white for white in WHITES if top * scale <= white), top * scale)
    grey_HW = np.multiply(numbers_HW, np.float32(255 / white * scale), dtype=np.float32)
    np.nan_to_num(grey_HW, copy=False, nan=0, posinf=255, neginf=0)
    np.clip(grey_HW, 0, 255, out=grey_HW)
    return np.asarray(np.rint(grey_HW, out=grey_HW), np.uint8)


@contextmanager
def decoder_messages() -> Iterator[Callable[[], str]]:
    """Collect what C code writes to standard error; yields a function that returns it. Threads take turns."""
    with _STANDARD_ERROR:
        yield from _collected_messages()


def _collected_messages() -> Iterator[Callable[[], str]]:
    # What Python still holds back must not appear among the decoder's messages.
    sys.stderr.flush()
    # The descriptor and not sys.stderr, for C code writes past Python.
    original = os.dup(2)
    with tempfile.TemporaryFile() as caught:
        os.dup2(caught.fileno(), 2)
        try:
            yield lambda: _read_all(caught)
        finally:
            os.dup2(original, 2)
            os.close(original)


def _read_all(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def pixels_in_header(file: IO[bytes]) -> int | None:
    """How many pixels a picture has by its header; None for what is no picture that is taken. Nothing is decoded."""
    try:
        header = _attempt(lambda: PIL.Image.open(file, formats=FORMATS))
    except _Refused:
        return None
    pixels = header.width * header.height if header is not None else 0
    return pixels if 0 < pixels <= MOST_PIXELS else None
