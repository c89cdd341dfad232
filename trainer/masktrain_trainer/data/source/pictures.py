"""The one reader of pictures: bytes of a file to pixels, or a sentence that says why not.

OpenCV's decoders write their complaints to the process's standard error, without the file's name; they are caught here,
since "premature end of data" is the only sign of a damaged JPEG that still decodes.
"""

from __future__ import annotations

import io
import os
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import cv2
import numpy as np
import PIL.Image

from ..geometry import Image

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
# libjpeg's words for pixels that are wrong; it remarks on harmless things, too, such as extraneous bytes.
SIGNS_OF_DAMAGE = ("premature end", "bad huffman code", "unsupported marker")
JPEG_SCAN, MOST_SCANS = b"\xff\xda", 100
"""A progressive JPEG has about ten scans, and its preview as many."""
WEBP_ANIMATION = 0x02
"""Flag of a file whose decoder keeps several whole canvases, however small its frames are."""
LARGEST_PICTURE = 1 << 30
"""Bytes of a file: 128 million pixels of six bytes fit."""
SMALLEST_SIDE = 10
"""Pixels; smaller images are taken for mistakes, as in YOLOv5."""
MOST_PIXELS = 128_000_000
"""384 MB once decoded, in each of several processes; aerial pictures of 10,000 x 10,000 pixels still fit."""
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of them; an MPO is a JPEG, a DNG a TIFF, a PFM is read by PPM."""


class UnreadableImage(ValueError):
    """`str()` says what is wrong with an image, as the rest of a sentence that began with its name."""


def decode_image(data: bytes) -> Image:
    """Pixels (H, W, 3) with the EXIF orientation applied; raises UnreadableImage."""
    if not data:
        raise UnreadableImage("it is an empty file")
    # No marker of a scan stands within one: each costs a look at all pixels, and a few bytes make another.
    if data.startswith(JPEG_START) and data.count(JPEG_SCAN) > MOST_SCANS:
        raise UnreadableImage(f"it is a JPEG of more than {MOST_SCANS} scans")
    if data[:4] == b"RIFF" and data[12:16] == b"VP8X" and data[20:21] and data[20] & WEBP_ANIMATION:
        raise UnreadableImage("it is an animation")
    _check_header(data)
    with _decoder_messages() as messages:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error:
            image = None
        complaints = messages().lower()
    # Near the end is enough: some programs write a few bytes behind the marker.
    if image is None and data.startswith(JPEG_START) and JPEG_END not in data[-64:]:
        raise UnreadableImage("it is a truncated JPEG: its end is missing")
    if image is None:
        raise UnreadableImage("it cannot be decoded as an image")
    if any(sign in complaints for sign in SIGNS_OF_DAMAGE):
        raise UnreadableImage("its image data is corrupt")
    height, width = image.shape[:2]
    if min(height, width) < SMALLEST_SIDE:
        raise UnreadableImage(f"it measures {width} x {height} pixels, less than {SMALLEST_SIDE} a side")
    return np.asarray(image, np.uint8)


def _check_header(data: bytes) -> None:
    """Refuse, before a pixel is decoded, an image that would fill the memory: a small file can be a huge picture.

    By Pillow, as in YOLOv5, and for the formats that YOLOv5 takes: OpenCV itself would decode more of them.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(io.BytesIO(data), formats=FORMATS) as header:
                width, height = header.size
    except PIL.Image.DecompressionBombError:
        raise UnreadableImage(f"it has more than {MOST_PIXELS:,} pixels") from None
    except Exception:  # Pillow's readers raise whatever a damaged header leads them to
        if data.startswith(JPEG_START) and JPEG_END not in data[-64:]:
            raise UnreadableImage("it is a truncated JPEG: its end is missing") from None
        raise UnreadableImage("it cannot be decoded as an image") from None
    if width * height > MOST_PIXELS:
        raise UnreadableImage(f"it measures {width} x {height} pixels, more than {MOST_PIXELS:,}")


@contextmanager
def _decoder_messages() -> Iterator[Callable[[], str]]:
    """Collect what C code writes to standard error; yields a function that returns it."""
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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PIL.Image.DecompressionBombWarning)
            with PIL.Image.open(file, formats=FORMATS) as header:
                width, height = header.size
    except Exception:  # as in `_check_header`
        return None
    return width * height if width * height <= MOST_PIXELS else None
