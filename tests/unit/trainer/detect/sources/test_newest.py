"""The newest frame wins, and what has an end gives every frame: with connections that the test leads by the hand."""

import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import PurePath

import numpy as np
import pytest

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped, SourceOptions
from masktrain_trainer.detect.sources.newest import Connection, LiveSource, Patience, open_live
from masktrain_trainer.errors import InvalidConfiguration

OPTIONS = SourceOptions(timeout_seconds=20)


@dataclass
class Led:
    """Gives a frame for each permit; `asked` is set when it is asked for one more than it may give."""

    permits: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    asked: threading.Event = field(default_factory=threading.Event)
    lost: bool = False
    frames: int | None = None
    positions: Iterator[float] | None = None
    position: float | None = None
    frames_per_second: float | None = 30.0
    given: int = 0
    closed: threading.Event = field(default_factory=threading.Event)

    def advance(self) -> bool:
        if not self.permits.acquire(blocking=False):
            self.asked.set()
            self.permits.acquire()
        self.given += 1
        if self.positions is not None:
            self.position = next(self.positions)
        return not self.lost and (self.frames is None or self.given <= self.frames)

    def pixels(self) -> Image:
        return np.full((2, 3, 3), (self.given, 0, 255), np.uint8)

    def close(self) -> None:
        self.closed.set()

    def allow(self, frames: int) -> None:
        """And wait until the one after them is asked for."""
        self.asked.clear()
        for _ in range(frames):
            self.permits.release()
        assert self.asked.wait(10)

    def lose(self) -> None:
        self.lost = True
        self.permits.release()


@dataclass
class Feed:
    connections: list[Connection | None]
    name: PurePath = field(default_factory=lambda: PurePath("door"))
    origin: str = "rtsp://camera.example/door"

    def connect(self, patience: Patience) -> Connection | None:
        return self.connections.pop(0) if self.connections else None

    def objection(self, silent_seconds: float | None) -> str:
        return f"{self.origin} gave nothing, waited {silent_seconds}."


@pytest.fixture
def opened() -> Iterator[Callable[..., LiveSource]]:
    sources: list[LiveSource] = []

    def open_feed(*connections: Connection | None, options: SourceOptions = OPTIONS) -> LiveSource:
        sources.append(open_live(Feed(list(connections)), options))
        return sources[-1]

    yield open_feed
    for source in sources:
        source.close()


def frame(item: Frame | Skipped) -> Frame:
    assert isinstance(item, Frame)
    return item


def numbers(items: Sequence[Frame | Skipped]) -> list[int]:
    return [frame(item).number for item in items]


def test_the_newest_frame_wins_and_those_dropped_are_counted(opened: Callable[..., LiveSource]) -> None:
    led = Led()
    led.permits.release()
    source = opened(led)
    items = iter(source)
    first = frame(next(items))
    led.allow(5)
    newest = frame(next(items))

    assert (first.number, newest.number) == (0, 5)
    assert (first.seconds, newest.seconds > 0) == (0.0, True)
    assert newest.pixels_HWC[0, 0].tolist() == [255, 0, 6], "red first"
    assert source.live
    assert source.frames is None
    assert (first.medium.kind, first.medium.frames_per_second) == (Kind.LIVE, 30.0)


def test_a_stride_takes_frames_whose_number_it_divides(opened: Callable[..., LiveSource]) -> None:
    led = Led()
    led.permits.release()
    items = iter(opened(led, options=SourceOptions(stride=4, timeout_seconds=20)))
    first = frame(next(items))
    led.allow(7)

    assert frame(next(items)).number == 4
    assert first.medium.frames_per_second == 7.5


def test_what_has_an_end_gives_every_frame_and_is_not_connected_to_again(opened: Callable[..., LiveSource]) -> None:
    led = Led(frames=5, positions=iter([0.0, 0.5, 1.0, 1.5, 2.0, 2.5]))
    for _ in range(6):
        led.permits.release()
    source = opened(led, Led())
    items = list(source)

    assert numbers(items) == [0, 1, 2, 3, 4]
    assert [frame(item).seconds for item in items] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert (source.live, source.frames) == (False, 5)
    assert frame(items[0]).medium.kind is Kind.VIDEO


def test_what_breaks_off_before_its_end_says_so(opened: Callable[..., LiveSource]) -> None:
    led = Led(frames=100)
    led.permits.release()
    items = iter(opened(led))
    next(items)
    led.lose()

    assert list(items) == [Skipped("rtsp://camera.example/door broke off after 1 of about 100 frames.")]


def test_frames_before_their_time_are_held_back(opened: Callable[..., LiveSource]) -> None:
    positions = [index * 0.05 for index in range(8)]
    led = Led(positions=iter(positions))
    for _ in positions:
        led.permits.release()
    taken = [frame(item) for item in islice(opened(led), 4)]

    assert all(item.seconds >= positions[item.number] - 1e-3 for item in taken), "none before it is due"
    assert taken[-1].number < len(positions)


def test_a_jump_of_the_clock_is_not_waited_for(opened: Callable[..., LiveSource]) -> None:
    led = Led(positions=iter([0.0, 5000.0, 5000.01, 1.0]))
    led.permits.release()
    items = iter(opened(led))
    next(items)
    led.allow(3)

    assert frame(next(items)).number == 3


def test_a_lost_connection_is_made_again_and_said(opened: Callable[..., LiveSource]) -> None:
    before, after = Led(), Led()
    before.permits.release()
    items = iter(opened(before, None, after))
    next(items)
    before.lose()
    after.permits.release()

    said = next(items)
    assert isinstance(said, Skipped)
    assert re.fullmatch(r"rtsp://camera\.example/door stopped sending; connected again after \d+ s\.", said.sentence)
    assert frame(next(items)).number == 1
    assert before.closed.is_set()


def test_one_that_does_not_come_back_ends_the_iteration_with_a_sentence(opened: Callable[..., LiveSource]) -> None:
    led = Led()
    led.permits.release()
    items = iter(opened(led, options=SourceOptions(timeout_seconds=0.4)))
    next(items)
    led.lose()

    assert list(items) == [Skipped("rtsp://camera.example/door stopped sending and did not come back within 0.4 s.")]


def test_a_stream_that_has_an_end_meanwhile_is_not_begun_again(opened: Callable[..., LiveSource]) -> None:
    live, recorded = Led(), Led(frames=100)
    live.permits.release()
    items = iter(opened(live, recorded))
    next(items)
    live.lose()

    assert list(items) == [Skipped("rtsp://camera.example/door has come to its end.")]
    assert recorded.closed.is_set()


def test_nothing_at_once_is_not_the_same_as_silence(opened: Callable[..., LiveSource]) -> None:
    with pytest.raises(InvalidConfiguration, match="waited None"):
        opened(None)
    silent = Led()
    with pytest.raises(InvalidConfiguration, match=r"waited 0\.2"):
        opened(silent, options=SourceOptions(timeout_seconds=0.2))
    silent.lose()
    assert silent.closed.wait(10), "the thread ends with its read"


def test_close_ends_an_iteration_that_waits_in_another_thread(opened: Callable[..., LiveSource]) -> None:
    led = Led()
    led.permits.release()
    source = opened(led)
    items = iter(source)
    next(items)
    rest: list[Frame | Skipped] = []
    waiting = threading.Thread(target=lambda: rest.extend(items))
    waiting.start()
    source.close()
    source.close()
    waiting.join(10)

    assert not waiting.is_alive()
    assert rest == []
    led.lose()
    assert led.closed.wait(10)
