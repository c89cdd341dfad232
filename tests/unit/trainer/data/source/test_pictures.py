"""The one reader of pictures: what it reads, what it makes of it, what it refuses, alike for training and detect."""

import hashlib
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from masktrain_trainer.data.prepared import CachedImages
from masktrain_trainer.data.source import pictures
from masktrain_trainer.data.source.pictures import (
    FORMATS,
    LIKELY_PICTURES,
    READ_SUFFIXES,
    UnreadablePicture,
    decode_picture,
    read_picture,
)
from masktrain_trainer.data.source.verify import verify_split
from masktrain_trainer.detect.outputs.pictures import NEVER_WRITTEN
from masktrain_trainer.detect.sources.base import Frame, Skipped
from masktrain_trainer.detect.sources.opening import open_source
from tests.unit.trainer.data.exports import picture

WIDTH, HEIGHT = 40, 24
ORIENTATION, TURNED_LEFT = 0x0112, 6
Pixels = npt.NDArray[Any]


def scene(depth: type[np.generic] = np.uint8, top: int = 255) -> Pixels:
    """(H, W, 3), smooth, no two corners alike: whatever is turned, mirrored or of other colours is seen."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (np.stack([x / (WIDTH - 1), y / (HEIGHT - 1), (x + y) / (WIDTH + HEIGHT - 2)], axis=2) * top).astype(depth)


def grey(depth: type[np.generic] = np.uint8, top: float = 255) -> Pixels:
    return (np.linspace(0, 1, WIDTH * HEIGHT).reshape(HEIGHT, WIDTH) * top).astype(depth)


def saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    made = io.BytesIO()
    image.save(made, kind, **options)
    return made.getvalue()


def of_mode(mode: str) -> Image.Image:
    return Image.fromarray(scene()).convert(mode)


def turned(kind: str, **options: Any) -> bytes:
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED_LEFT
    return saved(Image.fromarray(scene()), kind, exif=exif, **options)


def animated(kind: str, **options: Any) -> bytes:
    return saved(Image.fromarray(scene()), kind, save_all=True, append_images=[of_mode("L").convert("RGB")], **options)


def by_cv2(ending: str, pixels: Pixels, *options: int) -> bytes:
    return cv2.imencode(ending, pixels, options)[1].tobytes()


def float_map(pixels: Pixels) -> bytes:
    return b"Pf\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + np.flipud(pixels).astype("<f4").tobytes()


def tiff(depths: list[int], photometric: int, pixels: bytes) -> bytes:
    """Uncompressed, of depths and meanings that Pillow does not write."""
    depth = struct.pack(f"<{len(depths)}H", *depths)
    tags = [(256, 3, WIDTH), (257, 3, HEIGHT), (258, 3, depth), (259, 3, 1), (262, 3, photometric), (273, 4, 512)]
    tags += [
        (277, 3, len(depths)),
        (278, 3, HEIGHT),
        (279, 4, len(pixels)),
        *([(338, 3, bytes(2 * (len(depths) - 3)))] if len(depths) > 4 else []),
    ]
    entries, behind = b"", b""
    for tag, kind, value in tags:
        raw = value if isinstance(value, bytes) else struct.pack("<H" if kind == 3 else "<I", value)
        place = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", 256 + len(behind))
        behind += raw if len(raw) > 4 else b""
        entries += struct.pack("<HHI", tag, kind, len(raw) // (2 if kind == 3 else 4)) + place
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(tags)) + entries + bytes(4)
    return (head.ljust(256, b"\0") + behind).ljust(512, b"\0") + pixels


def of_12_bits(values: Pixels) -> bytes:
    """Two numbers in three bytes."""
    first, second = values.reshape(-1, 2).T
    return np.stack([first >> 4, (first & 15) << 4 | second >> 8, second & 255], 1).astype(np.uint8).tobytes()


def pixels_of(data: bytes) -> Pixels:
    found = decode_picture(data)
    assert isinstance(found, np.ndarray), found
    assert found.dtype == np.uint8
    return found


def reason(data: bytes) -> str:
    found = decode_picture(data)
    assert isinstance(found, UnreadablePicture)
    return found.reason


def old_way(data: bytes) -> Pixels:
    """As training read pictures before there was one reader."""
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB))


AS_BEFORE = {
    "jpg": saved(of_mode("RGB"), "JPEG", quality=95),
    "jpg, grey": saved(of_mode("L"), "JPEG"),
    "jpg, CMYK": saved(of_mode("CMYK"), "JPEG", quality=95),
    "jpg, YCbCr": saved(of_mode("YCbCr"), "JPEG"),
    "jpg, progressive": saved(of_mode("RGB"), "JPEG", progressive=True),
    "jpg, optimised": saved(of_mode("RGB"), "JPEG", optimize=True),
    "jpg, full colour": saved(of_mode("RGB"), "JPEG", subsampling=0),
    "jpg, restart markers": by_cv2(".jpg", scene(), cv2.IMWRITE_JPEG_RST_INTERVAL, 1),
    "jpg, turned": turned("JPEG"),
    "mpo": animated("MPO"),
    "mpo, turned": turned("MPO"),
    "png": saved(of_mode("RGB"), "PNG"),
    "png, alpha": saved(of_mode("RGBA"), "PNG"),
    "png, grey": saved(of_mode("L"), "PNG"),
    "png, grey and alpha": saved(of_mode("LA"), "PNG"),
    "png, one bit": saved(of_mode("1"), "PNG"),
    "png, palette": saved(of_mode("P"), "PNG"),
    "png, transparent palette": saved(of_mode("P"), "PNG", transparency=3),
    "png, 16 bits": by_cv2(".png", scene(np.uint16, 65_535)),
    "png, 16 bits, grey": by_cv2(".png", grey(np.uint16, 65_535)),
    "png, turned": turned("PNG"),
    "png, animated": animated("PNG"),
    "bmp": saved(of_mode("RGB"), "BMP"),
    "bmp, palette": saved(of_mode("P"), "BMP"),
    "webp": saved(of_mode("RGB"), "WEBP"),
    "webp, alpha": saved(of_mode("RGBA"), "WEBP", lossless=True),
    "webp, turned": turned("WEBP", lossless=True),
    "tif": saved(of_mode("RGB"), "TIFF"),
    "tif, LZW": saved(of_mode("RGB"), "TIFF", compression="tiff_lzw"),
    "tif, deflate": saved(of_mode("RGB"), "TIFF", compression="tiff_adobe_deflate"),
    "tif, CMYK": saved(of_mode("CMYK"), "TIFF"),
    "tif, Lab": saved(of_mode("LAB"), "TIFF"),
    "tif, palette": saved(of_mode("P"), "TIFF"),
    "tif, one bit": saved(of_mode("1"), "TIFF", compression="group4"),
    "tif, white is 0": saved(of_mode("L"), "TIFF", tiffinfo={262: 0}),
    "tif, 16 bits": by_cv2(".tif", scene(np.uint16, 65_535)),
    "tif, 16 bits, grey": saved(Image.fromarray(grey(np.uint16, 65_535)), "TIFF"),
    "tif, pages": animated("TIFF"),
    "tif, turned": turned("TIFF"),
    "ppm": saved(of_mode("RGB"), "PPM"),
    "pgm, 16 bits": by_cv2(".pgm", grey(np.uint16, 65_535)),
}
"""What training accepted before: its pixels stay as they were, to the bit."""


@pytest.mark.parametrize("data", AS_BEFORE.values(), ids=AS_BEFORE)
def test_what_was_read_before_has_the_same_pixels(data: bytes) -> None:
    found, expected = pixels_of(data), old_way(data)
    assert found.shape == expected.shape
    assert hashlib.sha256(found.tobytes()).digest() == hashlib.sha256(expected.tobytes()).digest()


def as_grey(values: Pixels) -> Pixels:
    return np.repeat(values.astype(np.uint8)[..., None], 3, axis=2)


NOT_A_NUMBER = grey(np.float32, 255)
NOT_A_NUMBER[0, :4] = [np.nan, -np.inf, -3, np.inf]
FIRST_OF_IT = np.rint(grey(np.float32, 255))
FIRST_OF_IT[0, :4] = [0, 0, 0, 255]
LOSSLESS = scene()
NEW = {
    "gif": (saved(of_mode("P"), "GIF"), np.asarray(of_mode("P").convert("RGB"))),
    "gif, animated": (
        saved(of_mode("P"), "GIF", save_all=True, append_images=[of_mode("1")]),
        np.asarray(of_mode("P").convert("RGB")),
    ),
    "jp2": (saved(of_mode("RGB"), "JPEG2000"), LOSSLESS),
    "jp2, alpha": (saved(of_mode("RGBA"), "JPEG2000"), LOSSLESS),
    "j2k, grey": (saved(of_mode("L"), "JPEG2000", no_jp2=True), as_grey(np.asarray(of_mode("L")))),
    "jp2, 16 bits": (
        saved(Image.fromarray(grey(np.uint16, 65_535)), "JPEG2000"),
        as_grey(grey(np.uint16, 65_535) >> 8),
    ),
    "webp, animated": (animated("WEBP", lossless=True), LOSSLESS),
    "webp, animated and turned": (
        animated(
            "WEBP", lossless=True, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
        ),
        np.rot90(LOSSLESS, -1),
    ),
    "tif, 32 bits of 8": (saved(Image.fromarray(grey(np.int32, 255)), "TIFF"), as_grey(grey(np.int32, 255))),
    "tif, 32 bits of 16": (
        saved(Image.fromarray(grey(np.int32, 65_535)), "TIFF"),
        as_grey(grey(np.int32, 65_535) >> 8),
    ),
    "tif, 32 bits": (by_cv2(".tif", grey(np.int32, 2**31 - 1)), as_grey(grey(np.int32, 2**31 - 1) >> 24)),
    "tif, negative": (saved(Image.fromarray(grey(np.int32, 255) - 255), "TIFF"), as_grey(grey() * 0)),
    "tif, floats to 1": (
        saved(Image.fromarray(grey(np.float32, 1)), "TIFF"),
        as_grey(np.rint(grey(np.float32, 1) * 255)),
    ),
    "tif, floats to 255": (
        saved(Image.fromarray(grey(np.float32, 255)), "TIFF"),
        as_grey(np.rint(grey(np.float32, 255))),
    ),
    "tif, no numbers": (saved(Image.fromarray(NOT_A_NUMBER), "TIFF"), as_grey(FIRST_OF_IT)),
    "tif, floats, turned": (
        saved(Image.fromarray(grey(np.float32, 255)), "TIFF", tiffinfo={ORIENTATION: TURNED_LEFT}),
        np.rot90(as_grey(np.rint(grey(np.float32, 255))), -1),
    ),
    "tif, Zstandard": (saved(of_mode("RGB"), "TIFF", compression="zstd"), LOSSLESS),
    "tif, LZMA, 16 bits": (
        saved(Image.fromarray(grey(np.uint16, 65_535)), "TIFF", compression="lzma"),
        as_grey(grey(np.uint16, 65_535) >> 8),
    ),
    "tif, 12 bits": (tiff([12], 1, of_12_bits(grey(np.uint16, 4_095))), as_grey(grey(np.uint16, 4_095) >> 4)),
    "tif, 4 bits": (
        tiff([4], 1, bytes([0x0F]) * (WIDTH * HEIGHT // 2)),
        as_grey(np.tile([0, 255], (HEIGHT, WIDTH // 2))),
    ),
    "tif, CMYK of 16 bits": (
        tiff([16] * 4, 5, np.asarray(of_mode("CMYK")).astype("<u2").__lshift__(8).tobytes()),
        np.asarray(of_mode("CMYK").convert("RGB")),
    ),
    "tif, two channels more": (
        tiff([8] * 5, 2, np.concatenate([scene(), scene()[..., :2]], axis=2).tobytes()),
        LOSSLESS,
    ),
    "pfm to 255": (float_map(grey(np.float32, 255)), as_grey(np.rint(grey(np.float32, 255)))),
    "pfm to 1": (float_map(grey(np.float32, 1)), as_grey(np.rint(grey(np.float32, 1) * 255))),
}
"""What only detect read, with colours of its own, or nobody: the file and its pixels."""


@pytest.mark.parametrize(("data", "expected"), NEW.values(), ids=NEW)
def test_what_opencv_does_not_read_has_the_pixels_that_were_meant(data: bytes, expected: Pixels) -> None:
    np.testing.assert_array_equal(pixels_of(data), expected)


avif = pytest.mark.skipif("AVIF" not in FORMATS, reason="Pillow is built without it")


@avif
def test_an_avif_is_read_and_turned() -> None:
    close = scene().astype(int) - pixels_of(saved(of_mode("RGB"), "AVIF", quality=100, subsampling="4:4:4"))
    assert np.abs(close).max() <= 3
    assert pixels_of(turned("AVIF")).shape == (WIDTH, HEIGHT, 3)


def test_training_and_detect_see_the_same_pixels(tmp_path: Path) -> None:
    forms = [*AS_BEFORE.values(), *(data for data, _ in NEW.values())]
    images = [tmp_path / "images" / f"{number:03d}.jpg" for number in range(len(forms))]
    for image, data in zip(images, forms, strict=True):
        label = tmp_path / "labels" / f"{image.stem}.txt"
        image.parent.mkdir(exist_ok=True)
        label.parent.mkdir(exist_ok=True)
        image.write_bytes(data)
        label.write_text("0 0.5 0.5 0.2 0.2\n")
    (tmp_path / "out").mkdir()
    checked = verify_split(
        "train",
        images,
        root=tmp_path,
        output=tmp_path / "out",
        classes=1,
        image_size=WIDTH,
        processes=1,
        say=lambda _: None,
    )
    assert checked.skipped == []
    trained = CachedImages(checked.split.labels, checked.split.cache)
    detected = seen_by_detect(images[0].parent)
    assert len(trained) == len(detected) == len(forms)
    for index, pixels in enumerate(detected):
        np.testing.assert_array_equal(trained.image(index), pixels)


def seen_by_detect(source: Path) -> list[Pixels]:
    return [item.pixels_HWC for item in open_source(str(source)) if isinstance(item, Frame)]


def with_segment(jpeg: bytes, body: bytes) -> bytes:
    """Put an EXIF segment behind the start marker."""
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    at = png.index(b"IDAT") - 4
    return png[:at] + chunk(kind, content) + png[at:]


PLAIN_JPEG, PLAIN_PNG = AS_BEFORE["jpg"], AS_BEFORE["png"]
TAG = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
"""EXIF that says "turned to the left"."""
BROKEN_EXIF = {
    "blank": with_segment(PLAIN_JPEG, b"Exif\0\0"),
    "doubled": with_segment(PLAIN_JPEG, b"Exif\0\0Exif\0\0" + TAG),
    "garbage": with_segment(PLAIN_JPEG, b"Exif\0\0" + b"\x13\x37garbage here" * 3),
    "cut": with_segment(PLAIN_JPEG, b"Exif\0\0" + TAG[:13]),
    "offset far behind the end": with_segment(PLAIN_JPEG, b"Exif\0\0II*\0\xff\xff\xff\x7f" + TAG[8:]),
    "orientation 65535": with_segment(PLAIN_JPEG, b"Exif\0\0" + TAG.replace(b"\x06\0\0\0", b"\xff\xff\xff\xff")),
    "PNG, cut": with_chunk(PLAIN_PNG, b"eXIf", b"\x00\x08\x00\x02\x01\x12\x00\x03"),
    "PNG, as text": with_chunk(PLAIN_PNG, b"tEXt", b"Raw profile type exif\0\nexif\n  10\nb'Exif\\x00\\x00zz'"),
    "PNG, as Python writes bytes": with_chunk(PLAIN_PNG, b"eXIf", b"b'Exif\\x00\\x00II*"),
    "WebP, garbage": saved(of_mode("RGB"), "WEBP", lossless=True, exif=b"Exif\0\0\x13\x37garbage"),
    "animated WebP, garbage": animated("WEBP", lossless=True, exif=b"Exif\0\0\x13\x37garbage"),
}


@pytest.mark.parametrize("data", BROKEN_EXIF.values(), ids=BROKEN_EXIF)
def test_broken_exif_is_ignored(data: bytes) -> None:
    expected = pixels_of(PLAIN_JPEG) if data.startswith(b"\xff\xd8") else scene()
    np.testing.assert_array_equal(pixels_of(data), expected)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_applied_alike(orientation: int) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    image = Image.fromarray(scene())
    still = {kind: pixels_of(saved(image, kind, exif=exif)) for kind in ("PNG", "TIFF")}
    webp = {
        "WEBP": pixels_of(saved(image, "WEBP", exif=exif, lossless=True)),
        "animated": pixels_of(animated("WEBP", exif=exif, lossless=True)),
    }
    moved = {
        1: scene(),
        2: np.fliplr(scene()),
        3: np.rot90(scene(), 2),
        4: np.flipud(scene()),
        5: scene().transpose(1, 0, 2),
        6: np.rot90(scene(), -1),
        7: np.rot90(scene(), 2).transpose(1, 0, 2),
        8: np.rot90(scene()),
    }[orientation]
    for kind, pixels in (still | webp).items():
        np.testing.assert_array_equal(pixels, moved, err_msg=kind)


def test_exif_orientation_is_applied() -> None:
    assert pixels_of(picture(height=48, width=64)).shape == (48, 64, 3)
    assert pixels_of(with_segment(picture(height=48, width=64), b"Exif\0\0" + TAG)).shape == (64, 48, 3)


def test_red_comes_first() -> None:
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 2] = 200
    np.testing.assert_array_equal(pixels_of(by_cv2(".png", red))[0, 0], [200, 0, 0])


@pytest.mark.parametrize("kind", ["png", "bmp", "tiff", "webp"])
@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (20, 30, 4)])
def test_other_formats_and_channels(kind: str, shape: tuple[int, ...]) -> None:
    assert pixels_of(by_cv2(f".{kind}", np.full(shape, 90, np.uint8))).shape == (20, 30, 3)


def noise(height: int = 120, width: int = 160) -> Image.Image:
    """Of which every byte of a file says something."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


WHOLE = {
    "jpg": saved(noise(), "JPEG", quality=80),
    "jpg, progressive": saved(noise(), "JPEG", progressive=True),
    "png": saved(noise(), "PNG"),
    "bmp": saved(noise(), "BMP"),
    "webp": saved(noise(), "WEBP", lossless=True),
    "webp, animated": saved(noise(), "WEBP", lossless=True, save_all=True, append_images=[noise().rotate(180)]),
    "tif": saved(noise(), "TIFF"),
    "tif, LZW": saved(noise(), "TIFF", compression="tiff_lzw"),
    "tif, floats": saved(noise().convert("F"), "TIFF"),
    "tif, Zstandard": saved(noise(), "TIFF", compression="zstd"),
    "gif": saved(noise(), "GIF"),
    "jp2": saved(noise(), "JPEG2000"),
    "ppm": saved(noise(), "PPM"),
    **({"avif": saved(noise(), "AVIF")} if "AVIF" in FORMATS else {}),
}


@pytest.mark.parametrize("share", [0.01, 0.5, 0.9])
@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE)
def test_a_cut_file_is_refused(data: bytes, share: float) -> None:
    assert pixels_of(data).shape == (120, 160, 3)
    assert reason(data[: int(len(data) * share)])


def test_a_flipped_bit_of_a_png_is_refused() -> None:
    damaged = bytearray(WHOLE["png"])
    damaged[damaged.index(b"IDAT") + 2_000] ^= 0xFF
    assert reason(bytes(damaged))


def photo(**options: Any) -> bytes:
    """Smooth, as photographs are, so that NUL bytes stand for many blocks."""
    coarse = np.random.default_rng(3).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    return saved(Image.fromarray(cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)), "JPEG", **options)


def overwritten(data: bytes, start: float, end: float = 1.0) -> bytes:
    """NUL bytes from one share of a file to another."""
    first, last = int(len(data) * start), int(len(data) * end)
    return data[:first] + bytes(last - first) + data[last:]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"quality": 95}])
@pytest.mark.parametrize("start", [0.3, 0.6, 0.9, 0.99])
def test_a_jpeg_whose_tail_is_nul_bytes_is_refused_like_a_cut_one(options: dict[str, Any], start: float) -> None:
    """As a download leaves it that had reserved its room."""
    assert "truncated JPEG" in reason(overwritten(photo(**options), start))


@pytest.mark.parametrize("options", [{}, {"quality": 95}])
def test_a_jpeg_with_a_hole_is_refused(options: dict[str, Any]) -> None:
    assert "corrupt" in reason(overwritten(photo(**options), 0.5, 0.6))


def test_a_hole_in_the_first_picture_of_an_mpo_is_refused() -> None:
    first = photo(quality=95)
    made = saved(Image.open(io.BytesIO(first)), "MPO", save_all=True, append_images=[noise()], quality=95)
    assert pixels_of(made).shape == (240, 320, 3)
    end = made.index(b"\xff\xd9", made.index(b"\xff\xda"))
    assert "corrupt" in reason(made[: end - 600] + bytes(602) + made[end + 2 :])


def test_a_jpeg_without_one_of_its_restart_markers_is_refused() -> None:
    whole = by_cv2(".jpg", np.asarray(noise()), cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
    third, fifth = whole.index(b"\xff\xd3"), whole.index(b"\xff\xd5")
    assert pixels_of(whole).shape == (120, 160, 3)
    assert "corrupt" in reason(whole[:third] + whole[fifth:])


def test_an_even_surface_may_be_nul_bytes() -> None:
    """With tables made for it, whose shortest code ends a block."""
    even = saved(Image.new("L", (640, 640), 128), "JPEG", optimize=True)
    assert bytes(64) in even
    np.testing.assert_array_equal(pixels_of(even), 128)


def test_nul_bytes_behind_and_before_the_end_marker_are_harmless() -> None:
    """Some programs round a file up to whole sectors."""
    whole = photo()
    for padded in (whole + bytes(500), whole[:-2] + bytes(500) + whole[-2:]):
        np.testing.assert_array_equal(pixels_of(padded), pixels_of(whole))


def test_one_limit_of_pixels_ends_no_folder(tmp_path: Path) -> None:
    """The picture beyond it is named, and the others are done."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.new("L", (15_000, 12_500)).save(folder / "b-panorama.png")
    for name in ("a.jpg", "c.jpg"):
        (folder / name).write_bytes(photo())
    first, second, third = open_source(str(folder))
    huge = "it has more than 128,000,000 pixels"
    assert second == Skipped(f"{folder / 'b-panorama.png'} is not a readable image: {huge}.")
    shown = [item.medium.origin for item in (first, third) if isinstance(item, Frame)]
    assert shown == [str(folder / "a.jpg"), str(folder / "c.jpg")]


@pytest.mark.parametrize("name", ["jp2", "webp, animated", *(["avif"] if "AVIF" in FORMATS else [])])
def test_decoders_that_hold_several_pictures_get_half_the_pixels(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PIXELS", 160 * 120 * 2 - 1)
    assert "160 x 120 pixels, more than 19,199 for a" in reason(WHOLE[name])
    monkeypatch.setattr(pictures, "MOST_PIXELS", 160 * 120 * 2)
    assert pixels_of(WHOLE[name]).shape == (120, 160, 3)


def test_training_takes_no_side_of_less_than_ten_pixels() -> None:
    thin = by_cv2(".png", np.full((9, 300, 3), 90, np.uint8))
    assert pixels_of(thin).shape == (9, 300, 3)
    assert decode_picture(thin, smallest_side=10) == UnreadablePicture(
        "it measures 300 x 9 pixels, less than 10 a side"
    )


@pytest.mark.parametrize("ending", sorted(READ_SUFFIXES - NEVER_WRITTEN))
def test_what_is_written_under_an_ending_is_read_under_it(ending: str, tmp_path: Path) -> None:
    Image.fromarray(scene()).save(tmp_path / f"a{ending}")
    assert isinstance(read_picture(tmp_path / f"a{ending}"), np.ndarray)


def test_endings() -> None:
    yolov5 = {".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp"}
    assert yolov5 | {".jfif", ".jpe", ".gif", ".jp2"} <= READ_SUFFIXES
    assert {".heic", ".psd", ".cr2", ".svg", ".pdf"} <= LIKELY_PICTURES
    assert not READ_SUFFIXES & LIKELY_PICTURES
    assert all(ending == ending.lower() and ending.startswith(".") for ending in READ_SUFFIXES | LIKELY_PICTURES)


STRANGERS = {
    b"": "it is an empty file",
    bytes(5_000): "nothing but NUL bytes",
    b"\0\0\0\x18ftypheic\0\0\0\0mif1heic": "HEIC or a film; save it as JPEG or PNG",
    b"8BPS\0\x01": "a Photoshop file",
    b"%PDF-1.7\n": "PDF or PostScript",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n": "git lfs pull",
    b"\n<!DOCTYPE html><html>Not found</html>": "a web page",
    b'<svg xmlns="http://www.w3.org/2000/svg"/>': "a web page, SVG or XML",
    b"no picture": "it cannot be decoded as an image",
}


@pytest.mark.parametrize(("data", "words"), STRANGERS.items(), ids=[words[:20] for words in STRANGERS.values()])
def test_what_is_no_picture_is_said(data: bytes, words: str) -> None:
    assert words in reason(data)


def test_a_file_that_cannot_be_opened_is_said(tmp_path: Path) -> None:
    assert read_picture(tmp_path / "gone.jpg") == UnreadablePicture("it cannot be read (No such file or directory)")
    assert read_picture(tmp_path) == UnreadablePicture("it cannot be read (Is a directory)")


SAMPLES = [*AS_BEFORE.values(), *(data for data, _ in NEW.values()), *WHOLE.values(), photo()]


def cut(data: bytes, draw: Callable[[Any], Any]) -> bytes:
    end: int = draw(st.integers(0, len(data)))
    return data[:end]


def flip(data: bytes, draw: Callable[[Any], Any]) -> bytes:
    changed = bytearray(data)
    # Headers are where the mischief is.
    for at in draw(st.lists(st.integers(0, min(len(data) - 1, 300)) | st.integers(0, len(data) - 1), max_size=8)):
        changed[at] = draw(st.integers(0, 255))
    return bytes(changed)


def fill(data: bytes, draw: Callable[[Any], Any]) -> bytes:
    start: int = draw(st.integers(0, len(data)))
    end: int = draw(st.integers(start, len(data)))
    filler: bytes = draw(st.sampled_from([b"\0", b"\xff"]))
    return data[:start] + filler * (end - start) + data[end:]


def splice(data: bytes, draw: Callable[[Any], Any]) -> bytes:
    other: bytes = draw(st.sampled_from(SAMPLES))
    end, start = draw(st.integers(0, len(data))), draw(st.integers(0, len(other)))
    return data[:end] + other[start:]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.sampled_from([cut, flip, fill, splice]), st.data())
def test_whatever_became_of_a_file_there_is_an_answer(
    data: bytes, change: Callable[[bytes, Callable[[Any], Any]], bytes], chance: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        # So that a changed header costs no gigabyte.
        patch.setattr(pictures, "MOST_PIXELS", 1 << 20)
        found = decode_picture(change(data, chance.draw))
    if isinstance(found, UnreadablePicture):
        assert found.reason
        assert "\n" not in found.reason
    else:
        assert found.dtype == np.uint8
        assert found.shape[2] == 3
        assert found.size > 0
