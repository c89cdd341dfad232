"""Reading ahead and detecting: every frame once and in order, errors told, and no thread left behind."""

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import PurePath

import pytest

from masktrain_trainer.detect.outputs.base import Detected
from masktrain_trainer.detect.pipeline import detect_frames, read_ahead
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium, Skipped
from masktrain_trainer.errors import InvalidConfiguration

from .models import VIDEO, Bright, Listed, bright_detector, frames, picture


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_what_is_read_ahead_comes_in_order(depth: int) -> None:
    assert list(read_ahead(range(20), depth)) == list(range(20))


def test_no_more_is_read_than_there_is_room_for() -> None:
    taken: list[int] = []
    third_taken = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            if number == 3:
                third_taken.set()
            yield number

    with closing(read_ahead(numbers(), 2)) as ahead:
        assert next(ahead) == 0
        assert third_taken.wait(30)
        # One was given, two lie there, one is in the reader's hands.
        assert taken == [0, 1, 2, 3]


def test_an_error_of_the_thread_comes_behind_what_was_read_before_it() -> None:
    def numbers() -> Iterator[int]:
        yield 1
        raise InvalidConfiguration("The disk is gone.")

    ahead = read_ahead(numbers(), 5)
    assert next(ahead) == 1
    with pytest.raises(InvalidConfiguration, match="The disk is gone"):
        next(ahead)


def test_a_generator_is_closed_in_its_own_thread_when_nobody_takes_more() -> None:
    closed_by: list[threading.Thread] = []

    def numbers() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed_by.append(threading.current_thread())

    ahead = read_ahead(numbers(), 1)
    assert next(ahead) == 0
    ahead.close()
    assert closed_by
    assert closed_by[0] is not threading.current_thread()


def test_a_source_that_waits_is_closed_by_who_leaves() -> None:
    source = Listed(frames(count=1), live=True)
    with closing(read_ahead(source, 1)) as ahead:
        next(ahead)
    assert source.closed.is_set()


@pytest.mark.parametrize("in_flight", [1, 3])
def test_every_frame_is_detected_once_and_in_order(in_flight: int) -> None:
    network = Bright(in_flight)
    items: list[Frame | Skipped] = [*frames(count=7), Skipped("Frame 7 cannot be decoded."), *frames(count=3)]
    found = list(detect_frames(source := Listed(items), bright_detector(network)))
    assert [item.frame if isinstance(item, Detected) else item for item in found] == items
    for item in found:
        if isinstance(item, Detected):
            (one,) = item.detections
            assert one.xyxy[0] == pytest.approx(max(0, 5 + item.frame.number - 10))
            assert one.name == "mask"
    assert source.closed.is_set()
    assert network.waiting == 0
    assert network.most_waiting == in_flight


def test_pictures_of_one_shape_share_a_batch_and_keep_their_place() -> None:
    network = Bright()
    shapes = [(64, 64), (32, 64), (64, 64), (32, 64)]
    media = [Medium(PurePath(f"{n}.png"), Kind.PICTURE, f"{n}.png", frames=1) for n in range(4)]
    items = [Frame(medium, 0, 0.0, picture(size=shape)) for medium, shape in zip(media, shapes, strict=True)]
    found = list(detect_frames(Listed(items), bright_detector(network)))
    assert [item.frame.medium for item in found if isinstance(item, Detected)] == media
    assert network.calls == [2, 2]


@pytest.mark.parametrize("live", [False, True])
def test_what_ends_the_source_is_raised_behind_its_frames(live: bool) -> None:
    source = Listed([*frames(count=1), InvalidConfiguration("The camera is gone.")], live=live)
    found: list[Detected | Skipped] = []
    with pytest.raises(InvalidConfiguration, match="The camera is gone"):
        found.extend(detect_frames(source, bright_detector()))
    assert source.closed.is_set()


@pytest.mark.parametrize("live", [False, True])
def test_who_leaves_early_leaves_nothing_behind(live: bool) -> None:
    source = Listed(frames(), live=live)
    found = detect_frames(source, bright_detector())
    assert isinstance(next(found), Detected)
    found.close()
    assert source.closed.is_set()


class _Cameras(Listed):
    """Both give several frames before anything is detected: the network's first batch waits for them."""

    def __init__(self, network: Bright) -> None:
        self.doors = [replace(VIDEO, name=PurePath(name), kind=Kind.LIVE, frames=None) for name in ("front", "back")]
        super().__init__([frame for pair in zip(*map(frames, self.doors), strict=True) for frame in pair], live=True)
        self.all_given = threading.Event()
        start = network.start

        def wait_and_start(images_BCHW):  # type: ignore[no-untyped-def]
            assert self.all_given.wait(30)
            return start(images_BCHW)

        network.start = wait_and_start  # type: ignore[method-assign]

    def __iter__(self) -> Iterator[Frame | Skipped]:
        yield from self._items  # type: ignore[misc]
        self.all_given.set()
        self.closed.wait()


def test_of_live_streams_the_newest_frames_share_a_batch() -> None:
    network = Bright()
    source = _Cameras(network)
    latest: dict[str, int] = {}
    with closing(detect_frames(source, bright_detector(network))) as found:
        for item in found:
            assert isinstance(item, Detected)
            latest[str(item.frame.medium.name)] = item.frame.number
            if latest == {"front": 5, "back": 5}:
                break
    # What came while the first batch waited is one batch, of the newest alone.
    assert len(network.calls) <= 2
    assert network.calls[-1] == 2
