"""What a text of `--source` is taken for, with a real web server; the live sources have tests of their own."""

import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from masktrain_trainer.detect.sources import opening
from masktrain_trainer.detect.sources.base import Frame, Skipped, Source, SourceOptions
from masktrain_trainer.detect.sources.lists import ListLine
from masktrain_trainer.detect.sources.opening import open_source
from masktrain_trainer.errors import InvalidConfiguration, UserError
from tests.media.films import FRAMES, Films

OPENERS = {
    "streams": ("open_stream", "open_webcam"),
    "pages": ("open_page",),
    "screen": ("open_screen",),
    "several": ("open_several",),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, object]]:
    """What the modules of live sources are asked to open, in place of them."""
    calls: list[tuple[str, object]] = []

    def opener(name: str, what: object, options: SourceOptions) -> None:
        assert isinstance(options, SourceOptions)
        calls.append((name, what))

    for module, names in OPENERS.items():
        fake = SimpleNamespace(**{name: partial(opener, name) for name in names})
        monkeypatch.setitem(sys.modules, f"{opening.__package__}.{module}", fake)
    return calls


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", ("open_webcam", 0)),
        (" 12 ", ("open_webcam", 12)),
        ("/dev/video3", ("open_webcam", 3)),
        ("screen", ("open_screen", "screen")),
        ("screen 1", ("open_screen", "screen 1")),
        ("screen 0 -100 20 512 256", ("open_screen", "screen 0 -100 20 512 256")),
        ("rtsp://host:554/door", ("open_stream", "rtsp://host:554/door")),
        ("RTMP://host/live", ("open_stream", "RTMP://host/live")),
        ("udp://239.0.0.1:1234", ("open_stream", "udp://239.0.0.1:1234")),
        ("https://www.youtube.com/watch?v=Zgi9g1ksQHc", ("open_page", "https://www.youtube.com/watch?v=Zgi9g1ksQHc")),
        ("https://youtu.be/Zgi9g1ksQHc", ("open_page", "https://youtu.be/Zgi9g1ksQHc")),
        ("https://www.twitch.tv/somebody", ("open_page", "https://www.twitch.tv/somebody")),
        ("https://host/live/index.m3u8?key=1", ("open_stream", "https://host/live/index.m3u8?key=1")),
    ],
)
def test_what_is_live_is_opened_by_its_module(
    text: str, expected: tuple[str, object], asked: list[tuple[str, object]]
) -> None:
    open_source(text)
    assert asked == [expected]


class Web:
    """A server without TLS; `pages`: the headers and the body for each path."""

    def __init__(self) -> None:
        self.url = ""
        self.pages: dict[str, tuple[dict[str, str], bytes]] = {}

    def put(self, path: str, body: bytes, media_type: str = "", *, length: bool = True) -> str:
        headers = {"Content-Type": media_type} if media_type else {}
        self.pages[path] = (headers | ({"Content-Length": str(len(body))} if length else {}), body)
        return self.url + path


@pytest.fixture
def web() -> Iterator[Web]:
    site = Web()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers, body = site.pages.get(self.path.partition("?")[0], (None, b""))
            self.send_response(404 if headers is None else 200)
            for name, value in ({"Content-Length": "0"} if headers is None else headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        site.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield site
        server.shutdown()


def frames(source: Source) -> list[Frame]:
    return [item for item in source if isinstance(item, Frame)]


def picture(path: Path) -> bytes:
    Image.new("RGB", (40, 30), "red").save(path)
    return path.read_bytes()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads go."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.mark.parametrize(
    ("path", "media_type", "name"),
    [
        ("/films/my%20film.mp4", "video/mp4", "my film.mp4"),
        ("/film.mp4", "application/octet-stream", "film.mp4"),
        ("/film.mp4", "", "film.mp4"),
        ("/download", "video/mp4", "download.mp4"),
        ("/..%2F..%2Fetc%2Fpasswd", "video/mp4", "_.._etc_passwd.mp4"),
        ("/%00%0A.mp4", "video/mp4", "__.mp4"),
    ],
)
def test_a_video_on_the_web_is_downloaded_and_gone_at_the_end(
    path: str, media_type: str, name: str, web: Web, films: Films, scratch: Path
) -> None:
    url = web.put(path, films("h264.mp4").read_bytes(), media_type)
    source = open_source(f"{url}?token=secret")
    assert (source.live, source.frames) == (False, FRAMES)
    found = frames(source)
    assert len(found) == FRAMES
    assert str(found[0].medium.name) == name
    assert found[0].medium.origin.startswith("http://127.0.0.1")
    assert "secret" not in found[0].medium.origin
    assert list(scratch.iterdir()) == []


def test_a_download_that_is_closed_unread_leaves_nothing(web: Web, tmp_path: Path, scratch: Path) -> None:
    source = open_source(web.put("/a", picture(tmp_path / "a.png"), "image/png"))
    assert len(list(scratch.iterdir())) == 1
    source.close()
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("path", "media_type", "length", "opener"),
    [
        ("/watch", "text/html; charset=utf-8", True, "open_page"),
        ("/film.mp4", "text/html", True, "open_page"),
        ("/live", "application/vnd.apple.mpegurl", True, "open_stream"),
        ("/camera", "multipart/x-mixed-replace; boundary=frame", False, "open_stream"),
        ("/camera", "application/octet-stream", False, "open_stream"),
        ("/camera", "", False, "open_stream"),
        ("/camera", "video/mp2t", False, "open_stream"),
    ],
)
def test_the_servers_word_says_what_an_address_is(
    path: str, media_type: str, length: bool, opener: str, web: Web, asked: list[tuple[str, object]]
) -> None:
    url = web.put(path, b"<html>", media_type, length=length)
    open_source(url)
    assert asked == [(opener, url)]


def test_a_file_whose_server_says_no_length_is_a_file(web: Web, films: Films, scratch: Path) -> None:
    assert len(frames(open_source(web.put("/a.mp4", films("h264.mp4").read_bytes(), length=False)))) == FRAMES


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "--source is empty; give an image or a video"),
        ("nothing.mp4", "nothing.mp4 does not exist; give an image or a video, a folder"),
        ("x" * 5000, "cannot be opened: File name too long."),
        ("none\0.mp4", "does not exist; give"),
        ("ftp://host/a.mp4", "--source ftp://… is of a kind that is not read; give"),
        ("s3://bucket/folder/", "s3://bucket/folder/ is a prefix; give the address of one image or video."),
        ("~nobody-of-this-name/a.mp4", "does not exist"),
        ("*.mp4", "Nothing matches *.mp4"),
        ("pipe", "pipe is neither a file nor a folder; give"),
        ("empty.txt", "empty.txt names nothing; write an image, a video or a stream a line."),
        ("binary.txt", "binary.txt is not a list: it is no text in UTF-8."),
        ("none.txt", "None of the files that none.txt names exists, such as a.jpg"),
        ("mixed.txt", "names streams, such as rtsp://host/a (line 1), and files, such as a.jpg (line 2); make two"),
        ("folder", "The folder folder holds no image or video"),
        ("http://[::1/a.mp4", "is not an address."),
    ],
)
def test_what_cannot_be_opened_is_one_sentence(
    text: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty.txt").write_text("\n# nothing\n \n")
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\xff")
    (tmp_path / "none.txt").write_text("a.jpg\nb.jpg")
    (tmp_path / "mixed.txt").write_text("rtsp://host/a\na.jpg")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError) as caught:
        open_source(text)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_a_server_refuses_is_one_sentence_without_keys(web: Web) -> None:
    with pytest.raises(InvalidConfiguration) as caught:
        open_source(f"{web.url}/none.mp4?token=secret")
    assert str(caught.value) == f"{web.url}/none.mp4 does not exist on its server; correct --source."
    with pytest.raises(InvalidConfiguration) as caught:
        open_source(web.put("/a.mp4", b"no video", "video/mp4"))
    assert str(caught.value) == f"{web.url}/a.mp4 is not a video that can be read, such as MP4, MKV, AVI or WebM."


def test_a_file_so_named_comes_before_a_pattern_and_before_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a[1].png", "a1.png", "0", "screen"):
        (tmp_path / name).write_bytes(picture(tmp_path / "any.png"))
    for text, name in [("a[1].png", "a[1].png"), ("a[12].png", "a1.png"), ("./0", "0"), ("./screen", "screen")]:
        assert [str(frame.medium.name) for frame in frames(open_source(text))] == [name]


def test_places_on_the_disk(tmp_path: Path, films: Films, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my media").mkdir()
    (tmp_path / "my media" / "a.mp4").write_bytes(films("h264.mp4").read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    for text in (
        str(tmp_path / "my media"),
        (tmp_path / "my media" / "a.mp4").as_uri(),
        "~/my media/a.mp4",
        "~/**/*.mp4",
    ):
        assert len(frames(open_source(text))) == FRAMES


def test_a_list_of_files_beside_it_elsewhere_and_on_the_web(
    tmp_path: Path, web: Web, scratch: Path, films: Films, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, lists = tmp_path / "here", tmp_path / "lists"
    here.mkdir()
    (lists / "images").mkdir(parents=True)
    picture(here / "a.png")
    picture(lists / "images" / "b.png")
    monkeypatch.chdir(here)
    first = web.put("/films/c.mp4", films("h264.mp4").read_bytes(), "video/mp4")
    lines = ["\ufeff# mine", "images/b.png", "", "a.png", first, f"{web.url}/none.jpg", "images/b.png", "gone.png"]
    (lists / "mine.txt").write_text("\r\n".join(lines), encoding="utf-8")
    source = open_source(str(lists / "mine.txt"))
    items = list(source)
    names = dict.fromkeys(str(item.medium.name) for item in items if isinstance(item, Frame))
    assert list(names) == ["lists/images/b.png", "here/a.png", "c.mp4"]
    said = [item.sentence for item in items if isinstance(item, Skipped)]
    assert said == [
        f"Line 6: {web.url}/none.jpg does not exist on its server; correct --source.",
        "Line 8: gone.png is not a readable image: it cannot be read (No such file or directory).",
    ]
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("a.txt", ["rtsp://host/a", "rtsp://host/b"]),
        ("a.txt", ["0", "1"]),
        ("a.txt", ["https://host/a.m3u8", "http://host/camera", "http://host/film.mp4"]),
        ("a.streams", ["film.mp4"]),
    ],
)
def test_a_list_of_streams_is_opened_as_several(
    name: str, lines: list[str], tmp_path: Path, asked: list[tuple[str, object]]
) -> None:
    (tmp_path / name).write_text("\n".join(["# doors", *lines]))
    open_source(str(tmp_path / name))
    assert asked == [("open_several", [ListLine(number, line) for number, line in enumerate(lines, 2)])]


@pytest.mark.parametrize(
    "text",
    ["ftp://u:secret@host/a.mp4", "a.jpg\nrtsp://u:secret@host/a", "rtsp:/u:secret@host/a", "http:u:secret@host/b"],
)
def test_no_sentence_about_a_list_shows_a_password(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.txt").write_text(text)
    for source in ("a.txt", text.splitlines()[-1]):
        if source.startswith("rtsp://"):
            continue
        with pytest.raises(UserError) as caught:
            open_source(source)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
