"""What viewers of the live page share, without a server."""

import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import PurePath

import cv2
import numpy as np
import pytest

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.live_show import LONGEST_SIDE, Settings, Show, _jpeg, _Pace, _rate
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.drawing import BoxStyle
from tests.media.bright_squares import SquareFinder, SquareSource, square_detector

NAMES = ["mask", "no mask", "other"]
SQUARES = [(1, 1, 0, 0.9), (1, 4, 0, 0.5), (3, 2, 1, 0.8)]


def show_of(source: SquareSource, network: SquareFinder | None = None) -> Show:
    return Show(source, square_detector(NAMES, network), NAMES, BoxStyle())


class News:
    """Told by a show; lets a test wait for what it is about."""

    def __init__(self, show: Show) -> None:
        self._show, self._told = show, threading.Condition()
        show.listen(self._tell)

    def _tell(self) -> None:
        with self._told:
            self._told.notify_all()

    def until(self, boxes: dict[int, int]) -> None:
        while {label: now for label, (now, _) in self._show.state(0).counts.items() if now} != boxes:
            with self._told:
                # Told between the look and the wait, it looks again soon.
                self._told.wait(0.05)


@contextmanager
def running(show: Show) -> Iterator[News]:
    news = News(show)
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(show.run)
        try:
            yield news
        finally:
            show.end("The test is over.")
        run.result()


def test_a_film_is_read_when_somebody_looks_and_counted_to_its_end() -> None:
    source = SquareSource(SQUARES, frames=4, kind=Kind.VIDEO)
    show = show_of(source)
    with ThreadPoolExecutor(1) as thread:
        run = thread.submit(show.run)
        assert source.taken == 0
        show.look()
        run.result()
    state = show.state(viewers=1)
    assert state.ended == "The source has ended."
    assert not state.running
    assert state.frames == state.frames_in_all == 4
    assert state.counts == {0: (2, 8), 1: (1, 4)}


def test_a_failing_source_says_why_and_fails_the_command() -> None:
    show = show_of(SquareSource(SQUARES, frames=1, error=InvalidConfiguration("The cable is out.")))
    with pytest.raises(InvalidConfiguration, match="cable"):
        show.run()
    assert show.ended == "The cable is out."
    show.end("Another reason.")
    assert show.ended == "The cable is out."


def test_a_fault_of_our_own_is_not_told_to_viewers() -> None:
    class Broken(SquareFinder):
        def start(self, images_BCHW: object) -> None:  # type: ignore[override]
            raise RuntimeError("secret")

    show = show_of(SquareSource(SQUARES), Broken())
    with pytest.raises(RuntimeError, match="secret"):
        show.run()
    assert show.ended == "Detecting has failed; the terminal says why."


def test_nothing_is_encoded_unless_somebody_asks_and_then_once(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Image] = []

    def encode(pixels_HWC: Image) -> bytes:
        encoded.append(pixels_HWC)
        return b"jpeg"

    monkeypatch.setattr("masktrain_trainer.detect.live_show._jpeg", encode)
    show = show_of(SquareSource(SQUARES, frames=3))
    assert show.picture() is None
    show.run()
    assert encoded == []
    assert show.picture() == show.picture()
    assert len(encoded) == 1
    show.change(Settings(labels=False))
    assert show.picture() is not None
    assert len(encoded) == 2


def test_stopped_only_the_frame_that_is_seen_is_detected_again() -> None:
    network = SquareFinder()
    show = show_of(SquareSource(SQUARES), network)
    with running(show) as news:
        news.until({0: 2, 1: 1})
        show.set_running(running=False)
        frames, total = show.state(0).frames, show.state(0).counts[0].total
        show.change(Settings(confidence=0.6))
        news.until({0: 1, 1: 1})
        show.change(Settings(confidence=0.25))
        news.until({0: 2, 1: 1})
        state = show.state(0)
        assert (state.frames, state.counts[0].total, state.frames_per_second) == (frames, total, 0.0)
        # The frames that were seen, one that waits, and the one that was seen, twice again.
        assert network.calls <= frames + 3


def test_only_what_is_set_changes_and_unknown_classes_are_refused() -> None:
    show = show_of(SquareSource(SQUARES))
    show.change(Settings(iou=0.3))
    show.change(Settings(hidden=frozenset({2})))
    with pytest.raises(InvalidConfiguration, match="no class 3"):
        show.change(Settings(confidence=0.9, hidden=frozenset({3})))
    settings = show.state(0).settings
    assert (settings.confidence, settings.iou, settings.hidden) == (0.25, 0.3, frozenset({2}))


def frame(kind: Kind, seconds: float, name: str = "a") -> Frame:
    return Frame(Medium(PurePath(name), kind, name), 0, seconds, np.zeros((1, 1, 3), np.uint8))


def test_films_keep_their_own_speed_and_do_not_hurry_after_a_pause() -> None:
    pace = _Pace()
    assert pace.seconds_until(frame(Kind.VIDEO, 5.0), now=100.0) == 0
    assert pace.seconds_until(frame(Kind.VIDEO, 5.5), now=100.1) == pytest.approx(0.4)
    assert pace.seconds_until(frame(Kind.VIDEO, 6.0), now=200.0) == 0
    assert pace.seconds_until(frame(Kind.VIDEO, 6.5), now=200.1) == pytest.approx(0.4)
    assert pace.seconds_until(frame(Kind.VIDEO, 0.0, "b"), now=201.0) == 0
    assert pace.seconds_left(now=201.0) == 0


def test_pictures_stay_for_a_moment_and_live_frames_do_not_wait() -> None:
    pace = _Pace()
    assert pace.seconds_until(frame(Kind.PICTURE, 0, "a"), now=10.0) == 0
    assert pace.seconds_until(frame(Kind.PICTURE, 0, "b"), now=10.2) == pytest.approx(0.8)
    assert pace.seconds_left(now=11.0) == pytest.approx(1.0)
    assert _Pace().seconds_until(frame(Kind.LIVE, 7.0), now=10.0) == 0


@pytest.mark.parametrize(
    ("moments", "rate"), [([], 0), ([9.9], 0), ([9.0, 9.5, 10.0], 2), ([1.0, 2.0, 9.5, 9.75, 10.0], 4), ([1.0, 2.0], 0)]
)
def test_the_rate_is_that_of_late(moments: list[float], rate: float) -> None:
    assert _rate(deque(moments), now=10.0) == rate


def test_large_pictures_are_sent_smaller() -> None:
    jpeg = _jpeg(np.zeros((20, 2 * LONGEST_SIDE, 3), np.uint8))
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (10, LONGEST_SIDE, 3)
