"""How the live page ends: with its source or by a signal, and what its viewers learn of it."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect

from masktrain_trainer.detect import live
from masktrain_trainer.detect.live import LEAVING_SECONDS, serve_live
from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.predict.drawing import BoxStyle

from .bright_squares import NAMES, SQUARES, SquareSource, square_detector
from .browser import faultless_page
from .serving import WAIT_SECONDS, Served, served, stuck_viewer


class Stalled(SquareSource):
    """Gives a frame, and then waits in a read that nothing cuts short, as for a disk that has gone."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(SQUARES, frames=None if kind is Kind.LIVE else 9, kind=kind)
        self.reads, self.goes_on = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        yield self.frame(0)
        self.reads.set()
        self.goes_on.wait()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine takes longer to open a connection than a person's does."""
    monkeypatch.setattr(live, "TELLING_SECONDS", 120.0)


def test_a_film_waits_for_somebody_who_looks_and_its_end_is_told() -> None:
    source = SquareSource(SQUARES, frames=5, kind=Kind.VIDEO, skipped="One frame is damaged.")
    with served(source, square_detector(NAMES), NAMES) as site:
        assert site.state()["frames"] == source.taken == 0
        last = site.last_event()
    assert (last["ended"], last["running"], last["frames"]) == ("The source has ended.", False, 5)
    assert last["frames_in_all"] == 5
    assert last["notice"] == "One frame is damaged."


@pytest.mark.usefixtures("patient")
def test_a_page_whose_ear_opens_after_the_end_hears_of_it_too() -> None:
    source = SquareSource(SQUARES, frames=2, kind=Kind.VIDEO)
    with served(source, square_detector(NAMES), NAMES) as site:
        site.ask("GET", "/")
        list(site.pictures())
        assert site.last_event()["ended"] == "The source has ended."


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_wait_for_pages_that_never_listen(number: signal.Signals) -> None:
    """In a process of its own, which waits so long for them that nothing else ends it."""
    script = (
        "from masktrain_trainer.detect import live; from masktrain_trainer.detect.sources.base import Kind\n"
        "from masktrain_trainer.predict.drawing import BoxStyle\n"
        "from tests.media.bright_squares import NAMES, SQUARES, SquareSource, square_detector\n"
        "live.TELLING_SECONDS = 3600.0\n"
        "source = SquareSource(SQUARES, frames=2, kind=Kind.VIDEO)\n"
        "for line in live.serve_live(\n"
        "    source, square_detector(NAMES), NAMES, '127.0.0.1:0', BoxStyle(), open_browser=False\n"
        "): print(line, flush=True)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as serving:
        assert serving.stdout is not None
        site = Served(serving.stdout.readline().split()[2])
        site.ask("GET", "/")
        list(site.pictures())
        serving.send_signal(number)
        assert serving.wait(WAIT_SECONDS) == 0


@pytest.mark.usefixtures("patient")
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
