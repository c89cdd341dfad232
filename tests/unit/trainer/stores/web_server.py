"""A web server with TLS, whose certificate the process trusts, that cuts bodies off and knows ranges as it is told."""

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from masktrain_trainer.stores import web

ETAG = '"version-1"'


@dataclass(frozen=True)
class Page:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def redirect(location: str) -> Page:
    return Page(302, b"", {"Location": location})


@dataclass
class Site:
    """Pages by path. `cuts` are the bytes that the next answers with a body send before they hang up."""

    url: str = ""
    pages: dict[str, Page] = field(default_factory=dict)
    cuts: list[int] = field(default_factory=list)
    knows_ranges: bool = True
    etag: str | None = ETAG
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    """Path with its query, and the range."""


@contextmanager
def serving_site(folder: Path, monkeypatch: pytest.MonkeyPatch, address: str = "localhost") -> Iterator[Site]:
    """Serve until left; `SSL_CERT_FILE` names who signed the certificate, for processes that are started, too."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.pem"))
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(web, "_PAUSE_SECONDS", 0.0)
    monkeypatch.setattr(web, "RETRY", web.RETRY.new(backoff_factor=0))
    site = Site()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1", "127.0.0.2").configure_cert(context)
    with ThreadingHTTPServer((address, 0), _handler(site)) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        site.url = f"https://localhost:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield site
        http.shutdown()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            page = site.pages.get(self.path.partition("?")[0], Page(404))
            body, status, headers = page.body, page.status, dict(page.headers)
            if status == 200 and site.etag is not None:
                headers["ETag"] = site.etag
            if wanted and status == 200 and site.knows_ranges and self.headers.get("If-Range") == site.etag:
                start = int(wanted.removeprefix("bytes=").rstrip("-"))
                headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
                body, status = body[start:], 206
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: site.cuts.pop(0)] if body and site.cuts else body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler
