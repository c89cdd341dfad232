"""Downloads from the web: what is followed, what is resumed, and what is said when neither helps."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from masktrain_trainer.errors import StoreUnavailable
from masktrain_trainer.stores import web
from masktrain_trainer.stores.web import Head, NotTheFile, NotThere, Refused, download, look

from .web_server import Page, Site, redirect, serving_site

BODY = bytes(range(256)) * 40


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with serving_site(tmp_path, monkeypatch) as found:
        found.pages = {"/set.zip": Page(body=BODY)}
        yield found


def fetch(site: Site, folder: Path, path: str = "/set.zip", largest: int = 1 << 20) -> bytes:
    download(f"{site.url}{path}", folder / "file", largest=largest, retries=web.RETRY)
    return (folder / "file").read_bytes()


def test_a_file_comes_by_way_of_redirects(site: Site, tmp_path: Path) -> None:
    site.pages |= {"/ds/abc": redirect("/stored?signature=hunter2"), "/stored": redirect("set.zip")}
    assert fetch(site, tmp_path, "/ds/abc?key=hunter2") == BODY
    assert [path for path, _ in site.asked] == ["/ds/abc?key=hunter2", "/stored?signature=hunter2", "/set.zip"]


def test_redirects_without_end_are_left(site: Site, tmp_path: Path) -> None:
    site.pages["/round"] = redirect("/round")
    with pytest.raises(NotTheFile, match="is redirected again and again"):
        fetch(site, tmp_path, "/round")
    assert len(site.asked) == 6


@pytest.mark.parametrize(
    "location",
    [
        "https://169.254.169.254/opc/v2/instance",
        "https://10.0.0.1/",
        "https://[fe80::1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fd00:c1::a9fe:a9fe]/",
        "https://100.64.0.1/",
    ],
)
def test_a_redirect_into_another_network_is_not_followed(site: Site, tmp_path: Path, location: str) -> None:
    site.pages["/away"] = redirect(location)
    with pytest.raises(NotTheFile, match=r"is redirected to a (link-local|private) address, which is not followed"):
        fetch(site, tmp_path, "/away")


def test_a_name_that_leads_inside_is_found_out_by_its_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the name's address was when somebody asked: the one that is connected to counts."""
    true = web._network
    monkeypatch.setattr(web, "_network", lambda address: "public" if address == "127.0.0.2" else true(address))
    with serving_site(tmp_path, monkeypatch, "0.0.0.0") as site:
        port = site.url.rpartition(":")[2]
        site.pages = {"/set.zip": Page(body=BODY), "/in": redirect(f"https://localhost:{port}/set.zip")}
        site.url = f"https://127.0.0.2:{port}"
        assert fetch(site, tmp_path) == BODY
        with pytest.raises(NotTheFile, match="is redirected to a loopback address"):
            fetch(site, tmp_path, "/in")
        assert [path for path, _ in site.asked] == ["/set.zip", "/in"]


def test_a_cut_body_goes_on_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.cuts = [4000, 0, 3000]
    assert fetch(site, tmp_path) == BODY
    assert [wanted for _, wanted in site.asked] == [None, "bytes=4000-", "bytes=4000-", "bytes=7000-"]


def test_a_cut_body_begins_anew_where_ranges_are_unknown(site: Site, tmp_path: Path) -> None:
    site.knows_ranges, site.cuts = False, [4000, 3000]
    assert fetch(site, tmp_path) == BODY


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_nothing_is_joined_that_may_be_of_two_versions(site: Site, tmp_path: Path, etag: str | None) -> None:
    site.etag, site.cuts = etag, [4000]
    assert fetch(site, tmp_path) == BODY
    assert [wanted for _, wanted in site.asked] == [None, None]


def test_a_file_that_changes_meanwhile_comes_whole(site: Site, tmp_path: Path) -> None:
    site.cuts = [4000]
    other = bytes(reversed(BODY))

    class Changing(list[tuple[str, str | None]]):
        def append(self, request: tuple[str, str | None]) -> None:
            if request[1]:
                site.etag, site.pages["/set.zip"] = '"version-2"', Page(body=other)
            super().append(request)

    site.asked = Changing()
    assert fetch(site, tmp_path) == other


def test_a_body_that_never_comes_whole_is_one_sentence(site: Site, tmp_path: Path) -> None:
    site.cuts = [100] + [0] * 20
    with pytest.raises(
        StoreUnavailable, match=r"cut off again and again, after 100 of 10,240 bytes; a proxy"
    ) as caught:
        fetch(site, tmp_path, "/set.zip?key=hunter2")
    assert "hunter2" not in str(caught.value)
    assert len(site.asked) <= 6


def test_more_than_was_announced_or_allowed_is_not_taken(site: Site, tmp_path: Path) -> None:
    with pytest.raises(NotTheFile, match="is larger than 1,000 bytes"):
        fetch(site, tmp_path, largest=1000)


@pytest.mark.parametrize(
    ("page", "kind", "sentence"),
    [
        (Page(404), NotThere, "does not exist on its server"),
        (Page(401, b"{}"), Refused, r"was refused by its server with status 401$"),
        (
            Page(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"),
            Refused,
            "with status 403 because it has expired",
        ),
        (Page(400, b"<Error><Code>ExpiredToken</Code></Error>"), Refused, "because it has expired"),
        (Page(206, b"x"), NotTheFile, "in parts that were not asked for"),
    ],
)
def test_a_refusal_is_told_apart(site: Site, tmp_path: Path, page: Page, kind: type[NotTheFile], sentence: str) -> None:
    site.pages["/set.zip"] = page
    with pytest.raises(kind, match=sentence):
        fetch(site, tmp_path)


@pytest.mark.parametrize("status", [429, 503])
def test_a_server_that_is_busy_is_asked_again_and_never_for_as_long_as_it_wants(
    site: Site, tmp_path: Path, status: int
) -> None:
    site.pages["/set.zip"] = Page(status, b"", {"Retry-After": "86400"})
    with pytest.raises(StoreUnavailable, match=f"too many {status} error responses") as caught:
        fetch(site, tmp_path)
    assert caught.value.exit_code == 1, "tried again"
    assert len(site.asked) == 6


@pytest.mark.parametrize("url", ["https://", "https://[::1/x", "https://a b/x", "https://localhost:99999/x"])
def test_what_is_no_address_is_final(tmp_path: Path, url: str) -> None:
    with pytest.raises(NotTheFile, match="is no address on the web"):
        download(url, tmp_path / "file", largest=1)


def test_a_look_tells_what_would_be_sent(site: Site) -> None:
    site.pages["/a.mp4"] = Page(body=BODY, headers={"Content-Type": "Video/MP4; codecs=avc1"})
    site.pages["/away"] = redirect("/a.mp4")
    assert look(f"{site.url}/away") == Head("video/mp4", len(BODY))
    assert look(f"{site.url}/set.zip") == Head("", len(BODY))
    with pytest.raises(NotThere):
        look(f"{site.url}/none")


def test_no_answer_leads_from_tls_to_an_address_without_it(site: Site, tmp_path: Path) -> None:
    """Whoever asks for https:// is promised it, also where http:// would do."""
    site.pages["/down"] = redirect(site.url.replace("https:", "http:") + "/set.zip")
    for plain in (False, True):
        with pytest.raises(NotTheFile, match="is redirected to an address without TLS, which is not followed"):
            download(f"{site.url}/down", tmp_path / "file", largest=1 << 20, plain=plain)
    with pytest.raises(NotTheFile, match="without TLS"):
        download(site.url.replace("https:", "http:"), tmp_path / "file", largest=1 << 20)


@pytest.mark.parametrize("location", ["http://169.254.169.254/opc/v2/instance", "http://10.0.0.1/"])
def test_a_server_without_tls_leads_into_no_other_network_either(location: str, tmp_path: Path) -> None:
    class Away(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", location)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Away) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/a"
        with pytest.raises(NotTheFile, match=r"is redirected to a (link-local|private) address"):
            download(url, tmp_path / "file", largest=1 << 20, plain=True)
        server.shutdown()
