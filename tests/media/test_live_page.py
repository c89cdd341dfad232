"""The live page as a server that strangers ask, and in a real browser."""

import io
import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from torch import Tensor

from devcluster.waiting import wait_until
from masktrain_trainer.detect.live import LEAVING_SECONDS, serve_live
from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.drawing import BoxStyle, class_colour
from masktrain_trainer.predict.predictor import Pending

from .bright_squares import CELL, SquareFinder, SquareSource, shade, square_detector
from .browser import DESKTOP, PHONE, faultless_page
from .serving import OWN, Served, served

HOSTILE = "<script>document.title = 'taken'</script>"
NAMES = ["mask", "no mask", HOSTILE]
SQUARES = [(1, 1, 0, 0.9), (1, 4, 0, 0.5), (3, 2, 1, 0.8), (3, 6, 1, 0.35), (2, 8, 2, 0.7)]
COUNTS = {"0": 2, "1": 2, "2": 1}


@pytest.fixture
def live() -> Iterator[Served]:
    with served(SquareSource(SQUARES), square_detector(NAMES), NAMES) as site:
        next(site.pictures())
        yield site


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


@contextmanager
def stuck_viewer(site: Served) -> Iterator[None]:
    """One that asks for pictures, has room for none, and reads nothing."""
    host, _, port = site.place.rpartition(":")
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect((host, int(port)))
        stuck.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield


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


class Stalled(SquareSource):
    """Gives a frame, and then waits in a read that nothing cuts short, as for a disk that has gone."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(SQUARES, frames=None if kind is Kind.LIVE else 9, kind=kind)
        self.reads, self.goes_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        yield self.frame(0)
        self.reads.set()
        self.goes_on.wait()


# Served: what is shown


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
    with served(source, square_detector(NAMES, network), NAMES) as site, ThreadPoolExecutor(viewers) as threads:
        watching = [threads.submit(lambda: list(site.pictures())) for _ in range(viewers)]
        wait_until(lambda: site.state()["viewers"] == viewers, "the viewers", 60)
        connection = site.connection()
        connection.request("GET", "/events")
        source.may_begin.set()
        last = json.loads(connection.getresponse().read().decode().strip().split("\n\n")[-1].removeprefix("data: "))
        connection.close()
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


# Served: its end


def test_a_film_waits_for_somebody_who_looks_and_its_end_is_told() -> None:
    source = SquareSource(SQUARES, frames=5, kind=Kind.VIDEO, skipped="One frame is damaged.")
    with served(source, square_detector(NAMES), NAMES) as site:
        assert site.state()["frames"] == source.taken == 0
        connection = site.connection()
        connection.request("GET", "/events")
        events = connection.getresponse().read().decode().strip().split("\n\n")
        connection.close()
    last = json.loads(events[-1].removeprefix("data: "))
    assert (last["ended"], last["running"], last["frames"]) == ("The source has ended.", False, 5)
    assert last["frames_in_all"] == 5
    assert last["notice"] == "One frame is damaged."


def test_a_source_that_dies_ends_the_command_with_its_sentence_which_the_page_shows(browser: Browser) -> None:
    sentence = "The camera in the yard has sent nothing for 30 seconds."
    source = SquareSource(SQUARES, frames=20, kind=Kind.VIDEO, error=InvalidConfiguration(sentence))
    with (  # noqa: PT012 - what ends the command comes at the end of the block
        pytest.raises(InvalidConfiguration, match=sentence),
        served(source, square_detector(NAMES), NAMES) as site,
        faultless_page(browser, site.url) as page,
    ):
        expect(page.get_by_role("alert")).to_have_text(sentence)
        expect(page.get_by_role("button", name="Start")).to_be_disabled()
        expect(page.locator("#lamp")).to_have_text("Ended")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("stalled", [None, Kind.LIVE, Kind.VIDEO])
def test_a_signal_ends_it_within_a_second_while_viewers_look(number: signal.Signals, stalled: Kind | None) -> None:
    """One viewer reads and one has stopped; the source sends, or waits in a read that nothing cuts short."""
    before = signal.getsignal(signal.SIGTERM)
    source = SquareSource(SQUARES) if stalled is None else Stalled(stalled)
    lines = serve_live(source, square_detector(NAMES), NAMES, "127.0.0.1:0", BoxStyle(), open_browser=False)
    site = Served(next(lines).split()[2])
    killed: list[float] = []

    def look_and_kill() -> int:
        with stuck_viewer(site):
            # Of a film the frames of a batch come together, so that it shows nothing here.
            viewer = site.pictures() if stalled is not Kind.VIDEO else iter(())
            next(viewer, None)
            if isinstance(source, Stalled):
                assert source.reads.wait(60)
            killed.append(time.monotonic())
            os.kill(os.getpid(), number)
            return len(list(viewer))

    with ThreadPoolExecutor(1) as thread:
        looking = thread.submit(look_and_kill)
        list(lines)
        took = time.monotonic() - killed[0]
        # A viewer that reads is told of the end; one that does not holds nothing up.
        looking.result()
    with pytest.raises(ConnectionRefusedError):
        site.state()
    assert signal.getsignal(signal.SIGTERM) is before
    # It waits for no longer than that, and a machine that is busy needs a moment for the rest.
    assert LEAVING_SECONDS < 1
    assert took < LEAVING_SECONDS + 5
    if isinstance(source, Stalled):
        source.goes_on.set()


def test_a_port_that_is_taken_and_an_address_of_others_are_told() -> None:
    source = SquareSource(SQUARES)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for address, why in ((taken, "in use"), ("192.0.2.7:0", "assign"), ("no.such.host.invalid:0", "no such host")):
            with pytest.raises(InvalidConfiguration, match=why), served(source, square_detector(NAMES), NAMES, address):
                pass


# Served: strangers


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "localhost.evil.example", "127.0.0.1.evil.example", ""]
)
def test_a_name_that_was_led_here_is_refused(live: Served, host: str) -> None:
    for path in ("/", "/stream", "/state", "/events"):
        assert live.ask("GET", path, headers={"Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1234", "127.0.0.1", "[::1]:80"])
def test_local_names_are_answered(live: Served, host: str) -> None:
    assert live.ask("GET", "/state", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Content-Type": "application/json", "Origin": "http://evil.example"},
        {"Content-Type": "application/json", "Origin": "null", "X-MaskTrain": "page"},
        {"Content-Type": "application/json", "Origin": "http://localhost:1", "X-MaskTrain": "page"},
        {"Content-Type": "text/plain", "Origin": "http://evil.example"},
    ],
)
def test_other_pages_change_nothing(live: Served, headers: dict[str, str]) -> None:
    for path, body in (("/settings", b'{"confidence": 0.9}'), ("/running", b'{"running": false}')):
        assert live.ask("POST", path, body, headers).status == 403
    state = live.state()
    assert state["running"]
    assert state["settings"]["confidence"] == 0.25


def test_the_page_itself_changes_by_its_origin(live: Served) -> None:
    headers = {"Content-Type": "application/json", "Origin": live.url.rstrip("/")}
    assert live.ask("POST", "/settings", b'{"confidence": 0.9}', headers).status == 200


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/settings", b"", 400),
        ("/settings", b"\xff\x00{", 400),
        ("/settings", b"[" * 10_000, 400),
        ("/settings", b'"confidence"', 400),
        ("/settings", b'{"confidence": 2}', 400),
        ("/settings", b'{"confidence": NaN}', 400),
        ("/settings", b'{"confidence": "0.5"}', 400),
        ("/settings", b'{"iou": -1e999}', 400),
        ("/settings", b'{"hidden": [3]}', 400),
        ("/settings", b'{"hidden": [-1]}', 400),
        ("/settings", b'{"hidden": {"0": true}}', 400),
        ("/settings", b'{"labels": 1}', 400),
        ("/settings", b'{"source": "/etc/passwd"}', 400),
        ("/settings", b'{"<script>\\u001b[2J": 1}', 400),
        ("/running", b'{"running": null}', 400),
        ("/running", b"{}", 400),
        ("/settings", b" " * 20_000, 413),
        ("/nothing", b"{}", 404),
        ("/state", b"{}", 405),
    ],
)
def test_what_is_not_a_setting_is_refused_in_a_sentence(live: Served, path: str, body: bytes, status: int) -> None:
    before = live.state()["settings"]
    answer = live.ask("POST", path, body, OWN)
    assert answer.status == status
    assert answer.text
    assert "\x1b" not in answer.text
    assert len(answer.text) < 300
    assert answer.headers.get_content_type() == "text/plain"
    assert live.state()["settings"] == before


def test_other_types_of_body_are_refused(live: Served) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        assert live.ask("POST", "/settings", b"{}", OWN | {"Content-Type": kind}).status == 415


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/..%2f..%2fetc/passwd",
        "/live.html.j2",
        "/static/../live.py",
        "//etc/passwd",
        "/stream/",
        "/%00",
    ],
)
def test_no_path_leads_to_a_file(live: Served, path: str) -> None:
    assert live.ask("GET", path).status == 404


def test_every_answer_forbids_what_a_page_needs_not(live: Served) -> None:
    for path in ("/", "/state", "/nothing"):
        headers = live.ask("GET", path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "DENY"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert headers["Server"] == "masktrain"
    first, second = (live.ask("GET", "/").headers["Content-Security-Policy"] for _ in range(2))
    assert "unsafe" not in first
    assert first != second


def test_names_are_text_and_nothing_else(live: Served) -> None:
    html = live.ask("GET", "/").text
    assert HOSTILE not in html
    assert "&lt;script&gt;" in html


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


def test_other_addresses_are_served_with_a_warning() -> None:
    lines: list[str] = []
    with served(SquareSource(SQUARES), square_detector(NAMES), NAMES, "0.0.0.0:0", lines=lines) as site:
        assert site.ask("GET", "/state", headers={"Host": "any.name.example"}).status == 200
    assert "Anybody in this machine's network can look" in lines[1]
