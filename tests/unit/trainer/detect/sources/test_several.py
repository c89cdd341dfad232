"""The lines of a list of streams; what comes of them is in tests/media."""

import pytest

from masktrain_trainer.detect.sources.base import SourceOptions
from masktrain_trainer.detect.sources.several import open_several, parse_lines
from masktrain_trainer.errors import InvalidConfiguration

OPTIONS = SourceOptions(timeout_seconds=5)


def test_blank_lines_and_comments_are_passed_over() -> None:
    lines = ["# cameras", "", "  rtsp://u:secret@camera.example/door  ", "\t", "/dev/video0", " # 1", "screen 1"]

    assert [line.origin for line in parse_lines(lines, OPTIONS)] == [
        "rtsp://camera.example/door",
        "Webcam 0",
        "screen 1",
    ]


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["", "clip.mp4"], "Line 2 of the list of streams: it is neither"),
        (["rtsp://camera/x", "#", "file:///etc/passwd"], "Line 3 .* neither"),
        (["rtsp://"], "Line 1 .* address of a stream"),
        (["https://www.youtube.com/watch?v=x"], "Line 1 .* pages are read one at a time"),
        (["screen 1 2"], "Line 1 .* no part of the screen"),
        (["0", "0"], "Line 2 .* webcam 0 stands there twice"),
        (["# nothing", ""], "holds no stream"),
    ],
)
def test_a_bad_line_is_said_with_its_number(lines: list[str], sentence: str) -> None:
    with pytest.raises(InvalidConfiguration, match=sentence):
        open_several(lines, OPTIONS)


def test_none_that_opens_is_said_with_every_reason() -> None:
    with pytest.raises(InvalidConfiguration, match=r"None of the 2 streams can be opened\. .*") as refused:
        open_several(["62", "63"], OPTIONS)
    assert "no webcam 62" in str(refused.value)
    assert "no webcam 63" in str(refused.value)
