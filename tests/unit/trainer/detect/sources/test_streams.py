"""What people see of a stream's address, and why a camera gives nothing."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from masktrain_trainer.detect.sources.base import SourceOptions
from masktrain_trainer.detect.sources.streams import (
    is_stream,
    open_stream,
    open_webcam,
    shown_address,
    stream_name,
    webcam_objection,
)
from masktrain_trainer.errors import InvalidConfiguration


@pytest.mark.parametrize(
    ("url", "shown", "name"),
    [
        ("rtsp://camera.example:8554/door", "rtsp://camera.example:8554/door", "camera.example-8554-door"),
        ("RTSP://u:p%40ss@camera.example/door?key=1#x", "rtsp://camera.example/door", "camera.example-door"),
        ("rtsp://camera.example", "rtsp://camera.example", "camera.example"),
        (
            "rtsp://10.0.0.7/user=admin&password=secret&channel=1.sdp",
            "rtsp://10.0.0.7/…",
            "10.0.0.7",
        ),
        ("rtmp://live.example/app/secret-key", "rtmp://live.example/app/…", "live.example-app"),
        ("http://cam.example/live.m3u8?token=secret", "http://cam.example/live.m3u8", "cam.example-live.m3u8"),
        (f"https://cdn.example/{'k' * 60}/a.m3u8", "https://cdn.example/…/a.m3u8", "cdn.example-a.m3u8"),
        ("rtsp://[::1]:554/a", "rtsp://[::1]:554/a", "1-554-a"),
    ],
)  # fmt: skip
def test_addresses_are_shown_and_named_without_keys(url: str, shown: str, name: str) -> None:
    assert shown_address(url) == shown
    assert str(stream_name(shown)) == name


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://",
        "rtsp://u:se/cret@camera/door",
        "file:///etc/passwd",
        "rtsp://camera:99999/x",
        "concat:a|b",
        "rtsp://a b",
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(InvalidConfiguration, match="address of a stream") as refused:
        open_stream(url, SourceOptions())
    assert "cret" not in str(refused.value)


@given(st.text(max_size=200))
def test_a_name_is_one_harmless_segment(text: str) -> None:
    name = stream_name(f"rtsp://{text}")

    assert len(name.parts) == 1
    assert name.parts[0] not in (".", "..")
    assert not name.parts[0].startswith((".", "-"))


def test_streams_are_known_by_their_scheme() -> None:
    assert is_stream("RTSP://camera/door")
    assert not is_stream("clip.mp4")
    assert not is_stream("s3://bucket/clip.mp4")
    assert not is_stream("rtsp:camera")


def test_without_a_camera_the_sentence_says_which_there_are(tmp_path: Path) -> None:
    assert webcam_objection(0, tmp_path, None).endswith("there is no camera at all.")
    for number in (10, 2):
        (tmp_path / f"video{number}").touch()

    assert webcam_objection(0, tmp_path, None).endswith("there are video2, video10.")
    assert "another program may hold it" in webcam_objection(2, tmp_path, None)
    assert "sent no picture within 5 s" in webcam_objection(2, tmp_path, 5.0)


def test_a_webcam_that_is_not_there_is_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InvalidConfiguration, match=r"There is no webcam 63 \(/dev/video63\): there "):
        open_webcam(63, SourceOptions(timeout_seconds=5))
    assert capfd.readouterr() == ("", ""), "OpenCV's own words stay away"
