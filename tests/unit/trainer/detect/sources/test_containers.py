"""What headers say, and that none of them, however damaged, leads the look at them astray."""

import random
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.detect.sources.containers import MATROSKA, Container, look_at
from tests.media.films import Films


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("h264.mp4", Container("MP4", codec="avc1", counted=True)),
        ("with-sound.mp4", Container("MP4", codec="avc1", sound=True, counted=True)),
        ("fragments.mp4", Container("MP4", codec="avc1")),
        ("sound.m4a", Container("MP4", sound=True, counted=True)),
        ("sound.wav", Container("sound", sound=True)),
        ("cut-h264.mp4", Container("MP4", cut=True)),
        ("cut-fast-start.mp4", Container("MP4", cut=True, codec="avc1", counted=True)),
        ("mpeg4.avi", Container("AVI", codec="FMP4", counted=True)),
        ("cut-mpeg4.avi", Container("AVI", cut=True, codec="FMP4", counted=True)),
        ("vp8.webm", Container(MATROSKA, codec="VP8")),
        ("cut-h264.mkv", Container(MATROSKA, cut=True, codec="MPEG4/ISO/AVC")),
        ("h264.ts", Container(None)),
    ],
)
def test_the_structure_of_films(name: str, expected: Container, films: Films) -> None:
    assert look_at(films(name)) == expected


def test_pictures_that_are_built_as_mp4_is_are_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\0\0\x20ftypavif" + bytes(100))
    assert look_at(tmp_path / "a") == Container(None)


starts = st.sampled_from([b"\0\0\0\x20ftypisom", b"RIFF\xff\0\0\0AVI ", b"\x1a\x45\xdf\xa3\x18\x53\x80\x67", b"OggS"])


@given(starts, st.binary(max_size=200))
def test_any_bytes_are_looked_at(start: bytes, rest: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_bytes(start + rest)
        look_at(Path(file.name))


@pytest.mark.parametrize("name", ["fragments.mp4", "mpeg4.avi", "vp8.webm"])
def test_damaged_films_are_looked_at(name: str, films: Films, tmp_path: Path) -> None:
    whole, chance = films(name).read_bytes(), random.Random(0)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(chance.randrange(1, 40)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        (tmp_path / "film").write_bytes(data[: chance.randrange(len(data))])
        look_at(tmp_path / "film")
