"""Live sources against real servers: RTSP by GStreamer's, RTMP by ffmpeg, HLS, MJPEG, a screen under Xvfb, pages."""

import threading
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path, PurePath

import pytest

from masktrain_trainer.detect.sources.base import Frame, Kind, Skipped, Source, SourceOptions
from masktrain_trainer.detect.sources.lists import ListLine
from masktrain_trainer.detect.sources.opening import open_source
from masktrain_trainer.detect.sources.pages import open_page
from masktrain_trainer.detect.sources.screen import open_screen
from masktrain_trainer.detect.sources.several import open_several
from masktrain_trainer.detect.sources.streams import open_stream
from masktrain_trainer.errors import InvalidConfiguration

from .servers import (
    CameraServer,
    camera_server,
    garbage_server,
    live_hls,
    make_clip,
    mute_server,
    rtmp_sender,
    rtsp_server,
    x_server,
)

OPTIONS = SourceOptions(timeout_seconds=20)
RED = [255, 0, 0]


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[CameraServer]:
    with camera_server(tmp_path) as server:
        yield server


def frames(items: Iterator[Frame | Skipped], count: int) -> list[Frame]:
    return list(islice((item for item in items if isinstance(item, Frame)), count))


def sentence(items: Iterator[Frame | Skipped]) -> str:
    return next(item.sentence for item in items if isinstance(item, Skipped))


def assert_red(frame: Frame) -> None:
    assert abs(frame.pixels_HWC[10, 10].astype(int) - RED).max() < 24


def assert_live_and_red(source: Source, size: tuple[int, int]) -> list[Frame]:
    """Three frames of it, after which it is closed."""
    taken = frames(iter(source), 3)
    source.close()
    numbers, seconds = [frame.number for frame in taken], [frame.seconds for frame in taken]
    assert source.live
    assert numbers == sorted(set(numbers))
    assert seconds == sorted(seconds)
    assert taken[0].pixels_HWC.shape == (*size, 3)
    assert taken[0].medium.kind is Kind.LIVE
    for frame in taken:
        assert_red(frame)
    return taken


@pytest.mark.parametrize("codec", ["vp8", "jpeg"])
def test_rtsp(codec: str) -> None:
    with rtsp_server(codec=codec) as port:
        source = open_stream(f"rtsp://user:secret@127.0.0.1:{port}/door?key=secret", OPTIONS)
        medium = assert_live_and_red(source, (64, 96))[0].medium

    assert (medium.name, medium.origin) == (PurePath(f"127.0.0.1-{port}-door"), f"rtsp://127.0.0.1:{port}/door")


def test_rtsp_with_a_login(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with rtsp_server(login=("viewer", "p@ss:word")) as port:
        place = f"127.0.0.1:{port}/door"
        medium = assert_live_and_red(open_source(f"rtsp://viewer:p%40ss%3Aword@{place}", OPTIONS), (64, 96))[0].medium
        for login, words in (
            ("viewer:secret@", "its server refuses the login in the address; correct user and password"),
            ("stranger:p%40ss%3Aword@", "its server refuses the login in the address"),
            ("", "it asks for a login; write user:password@ in front of the host's name"),
        ):
            with pytest.raises(InvalidConfiguration) as refused:
                open_source(f"rtsp://{login}{place}", OPTIONS)
            assert str(refused.value).startswith(f"rtsp://{place} cannot be opened: {words}")
            assert_no_password(str(refused.value))

    assert (medium.name, medium.origin) == (PurePath(f"127.0.0.1-{port}-door"), f"rtsp://{place}")
    assert_no_password(caplog.text)
    assert capfd.readouterr() == ("", "")


def assert_no_password(text: str) -> None:
    assert not any(word in text for word in ("p@ss", "p%40ss", "secret"))


def test_a_camera_and_a_film_on_the_web_with_a_login(
    camera: CameraServer, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    make_clip(tmp_path / "walk.webm", 0.4, "-c:v", "libvpx", "-deadline", "realtime")
    camera.login = "viewer:p@ss"
    place = camera.url.removeprefix("http://")
    medium = assert_live_and_red(open_source(f"http://viewer:p%40ss@{place}/camera", OPTIONS), (48, 64))[0].medium
    film = frames(iter(open_source(f"http://viewer:p%40ss@{place}/walk.webm", OPTIONS)), 100)
    for path, login in product(("camera", "walk.webm"), ("viewer:secret@", "")):
        with pytest.raises(InvalidConfiguration) as refused:
            open_source(f"http://{login}{place}/{path}", OPTIONS)
        assert str(refused.value).startswith(f"{camera.url}/{path} ")
        assert ("correct the login" in str(refused.value)) == bool(login)
        assert_no_password(str(refused.value))

    assert (medium.origin, len(film), film[0].medium.origin) == (
        f"{camera.url}/camera",
        10,
        f"{camera.url}/walk.webm",
    )
    assert_no_password(f"{medium.name} {film[0].medium.name} {caplog.text}")
    assert capfd.readouterr() == ("", "")


def test_rtsp_stops_and_comes_back_with_another_size() -> None:
    with rtsp_server() as port:
        source = open_stream(f"rtsp://127.0.0.1:{port}/door", OPTIONS)
        items = iter(source)
        before = frames(items, 2)[-1]
    with rtsp_server("128x96", port):
        said = sentence(items)
        after = frames(items, 2)[-1]
        source.close()

    assert f"rtsp://127.0.0.1:{port}/door stopped sending; connected again after " in said
    assert before.pixels_HWC.shape == (64, 96, 3)
    assert after.pixels_HWC.shape == (96, 128, 3)
    assert after.number > before.number
    assert after.medium == before.medium


def test_rtmp() -> None:
    with rtmp_sender() as url:
        taken = assert_live_and_red(open_stream(url, OPTIONS), (64, 96))

    assert taken[0].medium.origin.endswith("/live/…")
    assert "secret" not in str(taken[0].medium.name)


def test_hls_is_shown_at_its_pace_and_read_to_its_end_once_it_has_one(camera: CameraServer, tmp_path: Path) -> None:
    with live_hls(tmp_path) as playlist:
        source = open_stream(f"{camera.url}/{playlist.name}", OPTIONS)
        taken = frames(iter(source), 12)
        source.close()
        assert source.live
        assert taken[-1].seconds >= (taken[-1].number - taken[0].number) / 25 - 0.1, "a part comes at once"
    recorded = open_stream(f"{camera.url}/{playlist.name}", SourceOptions(stride=2, timeout_seconds=20))
    numbers = [frame.number for frame in frames(iter(recorded), 1000)]

    assert not recorded.live
    assert numbers == list(range(0, 2 * len(numbers), 2))
    assert recorded.frames is not None
    assert abs(recorded.frames - len(numbers)) <= 1


def test_mjpeg_that_stalls_hangs_up_and_changes_its_size(camera: CameraServer) -> None:
    source = open_stream(f"{camera.url}/camera?key=secret", SourceOptions(timeout_seconds=6))
    items = iter(source)
    assert frames(items, 2)[-1].pixels_HWC.shape == (48, 64, 3)
    camera.size = (80, 60)
    camera.hang_up()
    assert "connected again" in sentence(items)
    assert frames(items, 1)[0].pixels_HWC.shape == (60, 80, 3)
    # The connection stays, so the read's patience ends it; the server sends again to the next who asks.
    camera.sending.clear()
    camera.asked.clear()
    waiting = threading.Thread(target=camera.send_when_asked)
    waiting.start()
    assert "connected again" in sentence(items)
    waiting.join()
    source.close()


def test_a_camera_that_goes_for_good_ends_the_iteration(tmp_path: Path) -> None:
    with camera_server(tmp_path) as server:
        items = iter(open_stream(f"{server.url}/camera", SourceOptions(timeout_seconds=2)))
        frames(items, 1)
    *_, last = items

    assert isinstance(last, Skipped)
    assert last.sentence == f"{server.url}/camera stopped sending and did not come back within 2 s."


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_one_that_never_answers_is_one_sentence(scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    with mute_server() as port, pytest.raises(InvalidConfiguration) as silent:
        open_stream(f"{scheme}://u:secret@127.0.0.1:{port}/door?secret", SourceOptions(timeout_seconds=0.5))

    assert str(silent.value).startswith(f"{scheme}://127.0.0.1:{port}/door sent no picture within 0.5 s")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("scheme", ["rtsp", "rtmp", "http"])
def test_noise_is_one_sentence(scheme: str, capfd: pytest.CaptureFixture[str]) -> None:
    with garbage_server() as port, pytest.raises(InvalidConfiguration, match="gives no video that can be read"):
        open_stream(f"{scheme}://127.0.0.1:{port}/door", OPTIONS)

    assert capfd.readouterr() == ("", "")


def test_refusals_say_what_refuses(camera: CameraServer, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<p>No video.")
    with mute_server() as port:
        pass
    for url, words in (
        (f"rtsp://127.0.0.1:{port}/door", f"nothing listens on port {port} of 127.0.0.1"),
        ("rtsp://camera.invalid/door", "no computer called camera.invalid is known"),
        (f"{camera.url}/nothing.m3u8?secret", "the server answers 404 "),
        (f"{camera.url}/page.html", "gives no video that can be read"),
    ):
        with pytest.raises(InvalidConfiguration, match=words) as refused:
            open_stream(url, OPTIONS)
        assert "secret" not in str(refused.value)


def test_several_in_turn_and_one_that_dies(camera: CameraServer, tmp_path: Path) -> None:
    with camera_server(tmp_path) as other, mute_server() as port:
        pass
    with camera_server(tmp_path, other.server_port) as other:
        addresses = (
            f"{camera.url}/camera",
            f"{other.url}/camera",
            f"http://127.0.0.1:{port}/x",
            f"{camera.url}/camera",
        )
        lines = [ListLine(number, address) for number, address in enumerate(addresses, 1)]
        source = open_several(lines, SourceOptions(timeout_seconds=2))
        items = iter(source)
        names: set[str] = set()
        assert f"nothing listens on port {port}" in sentence(items)
        while len(names) < 3:
            names |= {str(frame.medium.name) for frame in frames(items, 3)}
    name, other_name = f"127.0.0.1-{camera.server_port}-camera", f"127.0.0.1-{other.server_port}-camera"
    assert names == {name, f"{name}-2", other_name}

    assert sentence(items) == f"{other.url}/camera stopped sending and did not come back within 2 s."
    assert {str(frame.medium.name) for frame in frames(items, 8)} == {name, f"{name}-2"}, "the others go on, in turn"
    source.close()
    assert list(items) == []


@pytest.mark.parametrize(("root", "colour"), [("-br", [0, 0, 0]), ("-wr", [255, 255, 255])])
def test_the_screen(root: str, colour: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    with x_server(root) as display:
        monkeypatch.setenv("DISPLAY", display)
        source = open_screen("screen", SourceOptions(stride=2))
        first, second = frames(iter(source), 2)
        part = frames(iter(open_screen("screen 1 100 50 40 30", OPTIONS)), 1)[0]
        with pytest.raises(InvalidConfiguration, match=r"no monitor 2\. There are 0 .*; 1: 160 × 120"):
            open_screen("screen 2", OPTIONS)

    assert first.pixels_HWC.shape == (120, 160, 3)
    # The corner: the server draws its pointer in the middle.
    assert first.pixels_HWC[0, 0].tolist() == colour
    assert part.pixels_HWC.shape == (30, 40, 3)
    assert (first.number, second.number % 2, second.seconds > 0) == (0, 0, True)
    assert (first.medium.name, first.medium.frames_per_second) == (PurePath("screen"), 15.0)
    assert part.medium.name == PurePath("screen-1-100-50-40-30")


def test_a_screen_that_goes_away_ends_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    with x_server("-br") as display:
        monkeypatch.setenv("DISPLAY", display)
        items = iter(open_screen("screen", OPTIONS))
        frames(items, 1)
    *_, last = items

    assert isinstance(last, Skipped)
    assert "cannot be read any more" in last.sentence


def test_a_page_with_a_finished_video(camera: CameraServer, tmp_path: Path) -> None:
    make_clip(tmp_path / "walk.webm", 0.4, "-c:v", "libvpx", "-deadline", "realtime")
    (tmp_path / "page.html").write_text('<title>A walk</title><video src="walk.webm"></video>')
    source = open_page(f"{camera.url}/page.html?key=secret", OPTIONS)
    taken = frames(iter(source), 100)

    assert len(taken) == 10
    assert_red(taken[0])
    assert (source.live, source.frames) == (False, 10)
    assert taken[0].medium.name.suffix == ".webm"
    # yt-dlp numbers what it finds on a page.
    assert taken[0].medium.origin == f"{camera.url}/page.html (A walk (1))"


def test_a_page_with_a_live_video(camera: CameraServer, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text('<title>Now</title><video src="live.m3u8"></video>')
    with live_hls(tmp_path):
        source = open_page(f"{camera.url}/page.html", OPTIONS)
        taken = assert_live_and_red(source, (64, 96))

    assert taken[0].medium.origin == f"{camera.url}/page.html (Now (1))"


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("<p>Nothing.", "is a web page on which yt-dlp finds no video"),
        ('<title>a</title><video src="a.webm"></video><video src="b.webm"></video>', "is a list of videos"),
        (None, "is not there, or no longer"),
    ],
)
def test_pages_without_one_video(camera: CameraServer, tmp_path: Path, page: str | None, words: str) -> None:
    if page is not None:
        (tmp_path / "page.html").write_text(page)
    with pytest.raises(InvalidConfiguration, match=words) as refused:
        open_page(f"{camera.url}/page.html?key=secret", OPTIONS)
    assert "secret" not in str(refused.value)
