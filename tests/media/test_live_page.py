"""What the live page shows and what its sliders move, by its pictures and in a real browser."""

import io
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from torch import Tensor

from devcluster.waiting import wait_until
from masktrain_trainer.detect.sources.base import Frame, Skipped
from masktrain_trainer.predict.drawing import class_colour
from masktrain_trainer.predict.predictor import Pending

from .bright_squares import CELL, COUNTS, NAMES, SQUARES, SquareFinder, SquareSource, shade, square_detector
from .browser import DESKTOP, PHONE, faultless_page
from .serving import Served, served, stuck_viewer


def counts(state: dict[str, Any]) -> dict[str, int]:
    return {label: now for label, (now, _) in state["counts"].items() if now}


def pixels(jpeg: bytes) -> NDArray[np.int64]:
    return np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB")).astype(np.int64)


def coloured(image_HWC: NDArray[np.int64], label: int) -> int:
    """So many pixels have the colour of the boxes of that class."""
    return int((np.abs(image_HWC - np.array(class_colour(label))).max(-1) < 40).sum())


def until(site: Served, label: int, condition: Callable[[int], bool]) -> None:
    """See pictures until the number of such pixels is right; the frames under way may still have been drawn before."""
    next(jpeg for jpeg in site.pictures() if condition(coloured(pixels(jpeg), label)))


class HeldNetwork(SquareFinder):
    """Says when it has a frame, and does not go on before it may. `shades`: of the frames that it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.shades: list[int] = []
        self.has_frame, self.may_go_on = threading.Semaphore(0), threading.Semaphore(0)

    def start(self, images_BCHW: Tensor) -> Pending:
        self.shades += [round(float(strip.float().mean())) for strip in images_BCHW[:, :, -CELL:]]
        self.has_frame.release()
        assert self.may_go_on.acquire(timeout=60)
        return super().start(images_BCHW)


class Bursts(SquareSource):
    """Live frames, by their numbers; those of a burst come while the network has the last one of the burst before."""

    def __init__(self, network: HeldNetwork, bursts: Sequence[Sequence[int]]) -> None:
        super().__init__(SQUARES)
        self.may_begin = threading.Event()
        self._network, self._bursts = network, bursts

    def __iter__(self) -> Iterator[Frame | Skipped]:
        assert self.may_begin.wait(60)
        for number, burst in enumerate(self._bursts):
            for frame in burst:
                self.taken += 1
                yield self.frame(frame)
            # Who takes them has the whole burst, since it asks for more.
            if number:
                self._network.may_go_on.release()
            assert self._network.has_frame.acquire(timeout=60)
        self._network.may_go_on.release()


# Served


def test_a_viewer_gets_pictures_that_move_with_boxes_on_them(live: Served) -> None:
    first, second = islice(live.pictures(), 2)
    assert pixels(first).shape == (192, 320, 3)
    assert first != second
    assert coloured(pixels(first), 0) > 100 < coloured(pixels(first), 1)


def test_the_state_says_what_is_found_and_how_fast(live: Served) -> None:
    list(islice(live.pictures(), 3))
    state = live.state()
    assert counts(state) == COUNTS
    assert state["counts"]["0"][1] == 2 * state["frames"]
    assert (state["running"], state["ended"], state["source"]) == (True, None, "camera in the yard")
    assert (state["model"], state["frames_in_all"]) == ("squares.pt (by hand)", None)
    assert state["frames_per_second"] > 0


def test_thresholds_move_and_a_hidden_class_is_counted_but_not_drawn(live: Served) -> None:
    both = coloured(pixels(next(live.pictures())), 0)
    live.post("/settings", {"confidence": 0.6})
    until(live, 0, lambda number: 0 < number < 0.7 * both)
    assert counts(live.state()) == {"0": 1, "1": 1, "2": 1}
    live.post("/settings", {"hidden": [0]})
    until(live, 0, lambda number: number == 0)
    assert counts(live.state()) == {"0": 1, "1": 1, "2": 1}
    # Each of these squares is found twice, at an overlap of 0.6.
    live.post("/settings", {"iou": 0.7, "hidden": []})
    until(live, 0, lambda number: number > 0)
    while counts(live.state()) != {"0": 2, "1": 2, "2": 2}:
        until(live, 0, lambda number: number > 0)


def test_two_viewers_share_one_detection_and_one_that_never_reads_stops_nobody(live: Served) -> None:
    with stuck_viewer(live):
        one, other = live.pictures(), live.pictures()
        for _ in range(40):
            assert next(one)
            assert next(other)
        state = live.state()
        assert state["viewers"] == 3
        assert counts(state) == COUNTS


@pytest.mark.parametrize("viewers", [1, 3])
def test_one_inference_serves_all(viewers: int) -> None:
    """While the network is busy with a frame more of them come: the newest is shown, those between are passed over."""
    network = HeldNetwork()
    source = Bursts(network, [[0], [1, 2, 3], [4, 5]])
    with served(source, square_detector(NAMES, network), NAMES) as site, ThreadPoolExecutor(viewers + 1) as threads:
        watching = [threads.submit(lambda: list(site.pictures())) for _ in range(viewers)]
        wait_until(lambda: site.state()["viewers"] == viewers, "the viewers", 60)
        listening = threads.submit(site.last_event)
        source.may_begin.set()
        last = listening.result()
        seen = [watch.result()[-1] for watch in watching]
    assert source.taken == 6
    assert network.shades == [shade(0), shade(3), shade(5)]
    assert last["frames"] == network.calls == 3
    assert [round(pixels(jpeg)[-CELL:].mean()) for jpeg in seen] == pytest.approx([shade(5)] * viewers, abs=4)


def test_stopped_it_stands_still_and_is_detected_again_at_other_thresholds(live: Served) -> None:
    stopped = live.post("/running", {"running": False})
    viewer = live.pictures()
    still = next(viewer)
    live.post("/settings", {"confidence": 0.85})
    changed = next(viewer)
    # Nothing else moves: the strip below the squares is that of the same frame.
    assert np.abs(pixels(still)[-16:] - pixels(changed)[-16:]).max() < 12
    while counts(live.state()) != {"0": 1}:
        next(viewer)
    assert live.state()["frames"] == stopped["frames"]
    assert live.post("/running", {"running": True})["running"]
    while live.state()["frames"] <= stopped["frames"]:
        next(viewer)


# In a browser


def drawn(page: Page) -> list[int]:
    """Pixels of the picture on the screen that have each class's colour."""
    image = np.asarray(Image.open(io.BytesIO(page.locator("#picture").screenshot())).convert("RGB")).astype(np.int64)
    return [coloured(image, label) for label in range(3)]


def boxes(page: Page) -> None:
    expect(page.locator("#boxes")).to_have_text(str(sum(COUNTS.values())))


def test_the_picture_in_a_browser_moves_and_the_sliders_move_its_boxes(live: Served, browser: Browser) -> None:
    with faultless_page(browser, live.url) as page:
        boxes(page)
        strip = page.locator("#picture").screenshot()
        while page.locator("#picture").screenshot() == strip:
            pass
        before = drawn(page)
        slider = page.get_by_label("Confidence", exact=True)
        slider.focus()
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        expect(page.locator("#confidence-value")).to_have_text("0.55")
        expect(page.locator("#boxes")).to_have_text("3")
        assert counts(live.state()) == {"0": 1, "1": 1, "2": 1}
        while not (after := drawn(page))[0] < 0.7 * before[0] > 0 < after[0]:
            pass
        page.get_by_label("Overlap (IoU)").fill("0.8")
        expect(page.locator("#boxes")).to_have_text("6")
        assert live.state()["settings"]["iou"] == 0.8


def test_class_boxes_and_names_hide_by_keyboard_too(live: Served, browser: Browser) -> None:
    with faultless_page(browser, live.url) as page:
        boxes(page)
        assert page.title() != "taken"
        page.get_by_role("checkbox", name="no mask").focus()
        page.keyboard.press("Space")
        while drawn(page)[1] > 0:
            pass
        assert live.state()["settings"]["hidden"] == [1]
        # Counted all the same.
        expect(page.locator("tr[data-class='1'] .now")).to_have_text("2")
        lettered = drawn(page)[0]
        page.get_by_role("checkbox", name="Names").uncheck()
        while not 0 < drawn(page)[0] < lettered / 2:
            pass
        expect(page.get_by_role("checkbox", name="Confidences")).to_be_disabled()


def test_stop_holds_for_every_viewer_and_start_goes_on(live: Served, browser: Browser) -> None:
    with faultless_page(browser, live.url) as one, faultless_page(browser, live.url, PHONE) as other:
        boxes(one)
        boxes(other)
        expect(one.locator("#viewers")).to_have_text("2")
        one.get_by_role("button", name="Stop").click()
        expect(other.get_by_role("button", name="Start")).to_be_visible()
        expect(other.locator("#lamp")).to_have_text("Stopped")
        held = live.state()["frames"]
        other.get_by_label("Confidence", exact=True).fill("0.85")
        expect(one.locator("#boxes")).to_have_text("1")
        expect(one.locator("#confidence-value")).to_have_text("0.85")
        assert live.state()["frames"] == held
        other.get_by_role("button", name="Start").click()
        expect(one.locator("#lamp")).to_have_text("Live")
        one.wait_for_function("held => Number(document.getElementById('frames').textContent) > held", arg=held)
    # Who has left is no viewer any more.
    while live.state()["viewers"]:
        pass


@pytest.mark.parametrize("size", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_cut_off_and_everything_has_a_name(
    live: Served, browser: Browser, size: tuple[int, int], scheme: str
) -> None:
    with faultless_page(browser, live.url, size, color_scheme=scheme) as page:
        boxes(page)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        picture = page.locator("#picture").bounding_box()
        assert picture is not None
        assert picture["width"] > 0.6 * size[0]
        nameless = page.locator("input, button").evaluate_all(
            "all => all.filter(one => !one.labels?.length && !one.textContent.trim()).map(one => one.outerHTML)"
        )
        assert nameless == []
