"""Decode one image file, or say what is wrong with it.

OpenCV's decoders write their complaints to the process's standard error, without the file's name; they are caught here,
since "premature end of data" is the only sign of a damaged JPEG that still decodes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

import cv2
import numpy as np

from .arrays import Image

JPEG_START, JPEG_END = b"\xff\xd8", b"\xff\xd9"
SIGNS_OF_DAMAGE = ("premature end", "bad huffman code", "unsupported marker")
SMALLEST_SIDE = 10
"""Pixels; smaller images are taken for mistakes, as in YOLOv5."""


class UnreadableImage(ValueError):
    """`str()` says what is wrong with an image, as the rest of a sentence that began with its name."""


def decode_image(data: bytes) -> Image:
    """Pixels (H, W, 3) with the EXIF orientation applied; raises UnreadableImage."""
    if not data:
        raise UnreadableImage("it is an empty file")
    with _decoder_messages() as messages:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        except cv2.error:
            image = None
        complaints = messages().lower()
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


@contextmanager
def _decoder_messages() -> Iterator[Callable[[], str]]:
    """Collect what C code writes to standard error; yields a function that returns it."""
    sys.stderr.flush()
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
