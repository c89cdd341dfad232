"""Which part of which monitor is meant."""

import sys

import pytest

from masktrain_trainer.detect.sources.base import SourceOptions
from masktrain_trainer.detect.sources.screen import Region, find_region, is_screen, open_screen, parse_screen
from masktrain_trainer.errors import InvalidConfiguration

ALL, LEFT, RIGHT = Region(0, 0, 3000, 1000), Region(0, 0, 1000, 800), Region(1000, 0, 2000, 1000)


@pytest.mark.parametrize(
    ("text", "monitor", "asked"),
    [
        ("screen", 0, None),
        ("screen 1", 1, None),
        (" screen:2 ", 2, None),
        ("screen 100 50 640 480", 0, Region(100, 50, 640, 480)),
        ("screen 1 100 50 640 480", 1, Region(100, 50, 640, 480)),
        ("screen:1:100,50,640,480", 1, Region(100, 50, 640, 480)),
    ],
)
def test_forms(text: str, monitor: int, asked: Region | None) -> None:
    assert is_screen(text)
    assert parse_screen(text) == (monitor, asked)


@pytest.mark.parametrize(
    "text", ["screen 1 2", "screen -1", "screen 1 2 3", "screen a", "screen 1 2 3 4 5 6", "screens"]
)
def test_other_forms_are_refused_with_those_that_there_are(text: str) -> None:
    with pytest.raises(InvalidConfiguration, match="is no part of the screen: write `screen`"):
        parse_screen(text)


def test_a_part_is_counted_from_its_monitors_corner() -> None:
    assert find_region([ALL, LEFT, RIGHT], 0, None) == ALL
    assert find_region([ALL, LEFT, RIGHT], 2, Region(10, 20, 640, 480)) == Region(1010, 20, 640, 480)


@pytest.mark.parametrize("asked", [Region(900, 0, 101, 10), Region(0, 700, 10, 101), Region(0, 0, 0, 10)])
def test_a_part_that_is_not_there_is_said_with_what_is(asked: Region) -> None:
    with pytest.raises(InvalidConfiguration, match="not all on monitor 1, which has 1000 × 800 pixels"):
        find_region([ALL, LEFT, RIGHT], 1, asked)


def test_a_monitor_that_is_not_there_is_said_with_those_that_are() -> None:
    with pytest.raises(InvalidConfiguration, match=r"no monitor 3\. There are 0 .*; 1: 1000 × 800 .*; 2: 2000 × 1000"):
        find_region([ALL, LEFT, RIGHT], 3, None)


def test_without_a_display_it_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(InvalidConfiguration, match="no screen to read"):
        open_screen("screen", SourceOptions())
    monkeypatch.setenv("DISPLAY", ":4711")
    with pytest.raises(InvalidConfiguration, match="no screen to read"):
        open_screen("screen", SourceOptions())


def test_without_mss_the_sentence_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mss", None)
    with pytest.raises(InvalidConfiguration, match=r"pip install 'masktrain\[trainer,media\]'"):
        open_screen("screen", SourceOptions())
