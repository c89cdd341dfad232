"""The live page as a server that strangers ask."""

import socket

import pytest

from masktrain_trainer.errors import InvalidConfiguration

from .bright_squares import HOSTILE, NAMES, SQUARES, SquareSource, square_detector
from .serving import OWN, Served, served


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


def test_a_port_that_is_taken_and_an_address_of_others_are_told() -> None:
    source = SquareSource(SQUARES)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        for address, why in ((taken, "in use"), ("192.0.2.7:0", "assign"), ("no.such.host.invalid:0", "no such host")):
            with pytest.raises(InvalidConfiguration, match=why), served(source, square_detector(NAMES), NAMES, address):
                pass


def test_other_addresses_are_served_with_a_warning() -> None:
    lines: list[str] = []
    with served(SquareSource(SQUARES), square_detector(NAMES), NAMES, "0.0.0.0:0", lines=lines) as site:
        assert site.ask("GET", "/state", headers={"Host": "any.name.example"}).status == 200
    assert "Anybody in this machine's network can look" in lines[1]
