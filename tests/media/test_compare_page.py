"""The page of `masktrain compare` in a real browser: videos in step, charts that seek, nothing to complain of."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from playwright.sync_api import ConsoleMessage, Page, sync_playwright

from masktrain_trainer.cli.main import main
from tests.unit.trainer.compare.models import write_film, write_model

CHROMIUM = "/usr/bin/chromium"
FRAMES, RATE = 40, 10.0
DRIFT = "Math.abs(document.getElementById('first').currentTime - document.getElementById('second').currentTime)"
NOW = "document.getElementById('first').currentTime"


def until(page: Page, condition: str) -> None:
    """Wait for a condition. Playwright's own waiting evaluates text in the page, which its policy refuses."""
    look = f"() => ({condition}) ? done() : requestAnimationFrame(look)"
    page.evaluate(f"() => new Promise(done => {{ const look = {look}; look(); }})")


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("page")
    weights = [write_model(folder / "a.pt", ["mask", "no mask"]), write_model(folder / "b.pt", ["mask"], seed=1)]
    film = write_film(folder / "film.mp4", FRAMES, rate=RATE)
    arguments = ["compare", *map(str, weights), "--source", str(film), "--output", str(folder / "out"), "--frames", "6"]
    result = CliRunner().invoke(main, [*arguments, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return folder / "out" / "compare.html"


@pytest.fixture(scope="module")
def page(html: Path) -> Iterator[Page]:
    """Open, with both videos ready; what it complains of, or asks a server for, fails at the end."""
    complaints: list[str] = []

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            complaints.append(message.text)

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        opened = browser.new_page()
        opened.on("console", said)
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: complaints.extend([request.url] if request.url.startswith("http") else []))
        opened.goto(html.as_uri())
        until(opened, "[...document.querySelectorAll('video')].every(video => video.readyState >= 3)")
        yield opened
        browser.close()
    assert complaints == []


def test_both_videos_play_in_step_and_stop_on_one_frame(page: Page) -> None:
    page.locator("#rate").select_option("0.5")
    page.get_by_role("button", name="Play").click()
    until(page, f"{NOW} > 0.4")
    assert page.evaluate(DRIFT) < 2 / RATE
    page.get_by_role("button", name="Pause").click()
    until(page, "[...document.querySelectorAll('video')].every(video => video.paused && !video.seeking)")
    assert page.evaluate(DRIFT) < 0.5 / RATE


def test_a_video_that_fell_behind_catches_up(page: Page) -> None:
    page.evaluate("document.getElementById('first').currentTime = document.getElementById('second').currentTime = 0")
    page.get_by_role("button", name="Play").click()
    page.evaluate("document.getElementById('second').currentTime = 3")
    until(page, f"{NOW} > 0.2 && {DRIFT} < 0.15")
    page.get_by_role("button", name="Pause").click()


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_a_click_on_the_disagreements_goes_there(page: Page, share: float) -> None:
    plot = page.get_by_role("img", name="Number of disagreements over time")
    box = plot.bounding_box()
    assert box is not None
    plot.click(position={"x": box["width"] * share, "y": box["height"] / 2})
    until(page, "[...document.querySelectorAll('video')].every(video => !video.seeking)")
    assert page.evaluate(NOW) == pytest.approx(share * FRAMES / RATE, abs=1.01 / RATE)
    assert page.evaluate(DRIFT) < 1e-3
    assert float(plot.locator("line.now").get_attribute("x1") or 0) == pytest.approx(1000 * share, abs=30)


def test_a_frame_to_label_goes_to_its_moment(page: Page) -> None:
    button = page.locator("button[data-frame]").last
    index = int(button.get_attribute("data-frame") or 0)
    button.click()
    until(page, "[...document.querySelectorAll('video')].every(video => !video.seeking)")
    assert page.evaluate(NOW) == pytest.approx((index + 0.5) / RATE, abs=1e-3)


def test_arrows_step_frame_by_frame(page: Page) -> None:
    page.evaluate("document.activeElement.blur()")
    before = page.evaluate(NOW)
    page.keyboard.press("ArrowLeft")
    until(page, "[...document.querySelectorAll('video')].every(video => !video.seeking)")
    assert page.evaluate(NOW) == pytest.approx(before - 1 / RATE, abs=0.5 / RATE)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_it_fits_any_screen_in_light_and_dark(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    ink, paper = page.evaluate(
        "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    )
    assert ink != paper
    assert page.locator("#verdict").is_visible()
