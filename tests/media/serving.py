"""The live page of a source, served in this process; what its viewers send and are sent."""

import http.client
import json
import queue
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from masktrain_trainer.detect.detector import Detector
from masktrain_trainer.detect.live import serve_live
from masktrain_trainer.detect.sources.base import Source
from masktrain_trainer.predict.drawing import BoxStyle

WAIT_SECONDS = 120.0
OWN = {"Content-Type": "application/json", "X-MaskTrain": "test"}


class Answer(NamedTuple):
    status: int
    text: str
    headers: http.client.HTTPMessage


class Served:
    def __init__(self, url: str) -> None:
        self.url = url
        self.place = urlsplit(url).netloc

    def connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(self.place, timeout=WAIT_SECONDS)

    def ask(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        connection = self.connection()
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return Answer(response.status, response.read().decode(), response.headers)
        finally:
            connection.close()

    def state(self) -> dict[str, Any]:
        state: dict[str, Any] = json.loads(self.ask("GET", "/state").text)
        return state

    def post(self, path: str, document: dict[str, Any]) -> dict[str, Any]:
        answer = self.ask("POST", path, json.dumps(document).encode(), OWN)
        assert answer.status == 200, answer
        state: dict[str, Any] = json.loads(answer.text)
        return state

    def last_event(self) -> dict[str, Any]:
        """What the page's ear hears until the end, the newest of it."""
        connection = self.connection()
        try:
            connection.request("GET", "/events")
            *_, last = connection.getresponse().read().decode().strip().split("\n\n")
        finally:
            connection.close()
        state: dict[str, Any] = json.loads(last.removeprefix("data: "))
        return state

    def pictures(self) -> Iterator[bytes]:
        """Every JPEG that a viewer is sent, until the end."""
        connection = self.connection()
        try:
            connection.request("GET", "/stream")
            response = connection.getresponse()
            assert response.status == 200
            assert response.readline() == b"--frame\r\n"
            while response.readline() == b"Content-Type: image/jpeg\r\n":
                size = int(response.readline().split()[1])
                assert response.readline() == b"\r\n"
                yield response.read(size)
                assert response.readline() == b"\r\n"
                assert response.readline() == b"--frame\r\n"
        finally:
            connection.close()


@contextmanager
def served(
    source: Source, detector: Detector, names: list[str], address: str = "127.0.0.1:0", lines: list[str] | None = None
) -> Iterator[Served]:
    """Until the end of the block, or of the source; then whatever it raised is raised here."""
    told: queue.Queue[str | None] = queue.Queue()

    def run() -> None:
        try:
            for line in serve_live(source, detector, names, address, BoxStyle(), open_browser=False):
                told.put(line)
                if lines is not None:
                    lines.append(line)
        finally:
            told.put(None)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(run)
        try:
            # Without a line, it has failed.
            first = told.get() or running.result()
            assert first is not None
            yield Served(first.split()[2])
        finally:
            source.close()
        running.result()


@contextmanager
def stuck_viewer(site: Served) -> Iterator[None]:
    """One that asks for pictures, has room for none, and reads nothing."""
    host, _, port = site.place.rpartition(":")
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        stuck.connect((host, int(port)))
        stuck.sendall(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        yield
