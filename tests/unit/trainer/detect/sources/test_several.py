"""The lines of a list of streams; what comes of them is in tests/media."""

from pathlib import Path

import pytest

from masktrain_trainer.detect.sources.base import SourceOptions
from masktrain_trainer.detect.sources.lists import ListLine, list_lines
from masktrain_trainer.detect.sources.opening import open_source
from masktrain_trainer.detect.sources.several import open_several, parse_lines
from masktrain_trainer.errors import InvalidConfiguration

OPTIONS = SourceOptions(timeout_seconds=5)


def numbered(*texts: str) -> list[ListLine]:
    return [ListLine(number, text) for number, text in enumerate(texts, 1)]


def test_blank_lines_comments_and_what_is_there_twice_are_passed_over_and_lines_keep_their_numbers() -> None:
    door = "  rtsp://u:secret@camera.example/door  "
    lines = list_lines("\n".join(["# cameras", "", door, "\t", "/dev/video0", " # 1", door.strip(), "screen 1"]))

    assert [(line.number, line.origin) for line in parse_lines(lines, OPTIONS)] == [
        (3, "rtsp://camera.example/door"),
        (5, "Webcam 0"),
        (8, "screen 1"),
    ]


def test_a_line_is_said_with_the_number_that_it_has_in_its_file(tmp_path: Path) -> None:
    (tmp_path / "a.streams").write_text("# doors\n\n/dev/video62\n/dev/video62\n\n63\n")
    with pytest.raises(InvalidConfiguration, match=r"Line 3: There is no webcam 62.*Line 6: There is no webcam 63"):
        open_source(str(tmp_path / "a.streams"), OPTIONS)
    (tmp_path / "a.streams").write_text("# doors\n\n0\n0\nclip.mp4\n")
    with pytest.raises(InvalidConfiguration, match="Line 5 of the list of streams: it is neither"):
        open_source(str(tmp_path / "a.streams"), OPTIONS)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (["1", "clip.mp4"], "Line 2 of the list of streams: it is neither"),
        (["rtsp://camera/x", "2", "file:///etc/passwd"], "Line 3 .* neither"),
        (["rtsp://"], "Line 1 .* address of a stream"),
        (["https://www.youtube.com/watch?v=x"], "Line 1 .* pages are read one at a time"),
        (["screen 1 2"], "Line 1 .* no part of the screen"),
        (["0", "0"], "Line 2 .* webcam 0 stands there twice"),
    ],
)
def test_a_bad_line_is_said_with_its_number(lines: list[str], sentence: str) -> None:
    with pytest.raises(InvalidConfiguration, match=sentence):
        open_several(numbered(*lines), OPTIONS)


def test_none_that_opens_is_said_with_every_reason() -> None:
    with pytest.raises(InvalidConfiguration, match=r"None of the 2 streams can be opened\. .*") as refused:
        open_several(numbered("62", "63"), OPTIONS)
    assert "no webcam 62" in str(refused.value)
    assert "no webcam 63" in str(refused.value)
