"""What the decoder promises beyond a plain read."""

import cv2
import numpy as np
import pytest

from masktrain_trainer.data.source.pictures import decode_image

from .exports import picture

ROTATED_BY_EXIF = 6


def with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """Put an EXIF segment behind the start marker."""
    tag = b"\x12\x01\x03\x00\x01\x00\x00\x00" + orientation.to_bytes(4, "little")
    body = b"Exif\0\0" + b"II*\0\x08\0\0\0" + b"\x01\0" + tag + b"\0\0\0\0"
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_exif_orientation_is_applied() -> None:
    assert decode_image(picture(height=48, width=64)).shape == (48, 64, 3)
    assert decode_image(with_orientation(picture(height=48, width=64), ROTATED_BY_EXIF)).shape == (64, 48, 3)


def test_red_comes_first() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 200
    decoded = decode_image(cv2.imencode(".png", red)[1].tobytes())
    np.testing.assert_array_equal(decoded[0, 0], [200, 0, 0])


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_other_formats_and_channels(kind: str, shape: tuple[int, ...]) -> None:
    encoded = cv2.imencode(f".{kind}", np.full(shape, 90, np.uint8))[1].tobytes()
    assert decode_image(encoded).shape == (20, 30, 3)


def test_bytes_after_the_end_marker_are_harmless() -> None:
    np.testing.assert_array_equal(decode_image(picture() + bytes(500)), decode_image(picture()))
