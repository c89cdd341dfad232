"""`masktrain detect --serve`: what is detected now, in a browser, at thresholds that whoever looks may move.

Three threads share a `Show` (`live_show.py`): one detects, one serves it (`live_site.py`), and the one that called
waits for their end.
"""

import signal
import threading
import webbrowser
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager

from masktrain_trainer.predict.drawing import BoxStyle

from .detector import Detector
from .live_show import Show
from .live_site import Site, bind
from .sources.base import Source


def serve_live(
    source: Source, detector: Detector, names: list[str], address: str, style: BoxStyle, *, open_browser: bool
) -> Iterator[str]:
    """Serve the page until the source ends, or until Ctrl-C or SIGTERM. Yields lines to print, its address first.

    `address`: `HOST:PORT`, either of them, or nothing for this machine alone; port 0 lets the system choose. A source
    that has an end waits for the first viewer. Raises UserError: of the address before anything has begun, of the
    source when all have been told.
    """
    show = Show(source, detector, names, style)
    with bind(address) as listening, ThreadPoolExecutor(2) as threads, _terminable():
        site = Site(show, listening)
        try:
            running = [threads.submit(site.run), threads.submit(show.run)]
            yield f"Live page: {site.url} (Ctrl-C ends it)"
            yield from site.warnings
            if open_browser and not _opened(site.url):
                yield "No browser could be opened here: open the address in one."
            if not source.live:
                yield "It begins when somebody looks."
            wait(running, return_when=FIRST_COMPLETED)
        except KeyboardInterrupt:
            pass
        finally:
            show.end("The command was ended.")
            source.close()
            site.close()
    for part in running:
        part.result()


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends it as Ctrl-C does, where signals can be handled at all."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _opened(url: str) -> bool:
    """Whether a browser was asked to show it; one in the terminal would take that over."""
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    behind = isinstance(browser, webbrowser.BackgroundBrowser)
    if isinstance(browser, webbrowser.GenericBrowser) and not behind:
        return False
    # What is left behind calls it a failure to have ended already.
    return browser.open(url) or behind
