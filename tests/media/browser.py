"""A real browser, Debian's Chromium, and what its pages complained about."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

DESKTOP = (1280, 800)
PHONE = (390, 844)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Not with tests that are coroutines in one module: Playwright's own loop runs in this thread."""
    program = shutil.which("chromium")
    assert program is not None, "make media-tools installs chromium"
    with sync_playwright() as playwright:
        # A root's Chromium has no sandbox.
        chromium = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def faultless_page(browser: Browser, address: str, size: tuple[int, int] = DESKTOP, **context: str) -> Iterator[Page]:
    """The page at the address in a window of its own; an error in its console or its scripts fails the test."""
    faults: list[str] = []

    def hear(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            faults.append(message.text)

    window = browser.new_context(viewport={"width": size[0], "height": size[1]}, **context)  # type: ignore[arg-type]
    page = window.new_page()
    page.on("console", hear)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(address, wait_until="domcontentloaded")
    yield page
    window.close()
    assert faults == []
