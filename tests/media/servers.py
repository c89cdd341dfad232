"""Servers of live video, each on a port of the kernel's, ended with the test; none of them sends a frame to nobody."""

import base64
import functools
import http.server
import os
import select
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from devcluster.waiting import wait_until

RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")


@contextmanager
def running(*command: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


@contextmanager
def rtsp_server(
    size: str = "96x64", port: int = 0, codec: str = "vp8", login: tuple[str, str] | None = None
) -> Iterator[int]:
    """A red picture 25 times a second at rtsp://127.0.0.1:PORT/door. Yields the port.

    `login`: user and password that it asks for.
    """
    # The system's Python has GStreamer's bindings.
    with running("/usr/bin/python3", str(RTSP_SERVER), size, str(port), codec, *(login or ())) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())


def red(seconds: float, *, live: bool = False) -> list[str]:
    """ffmpeg's input: red, with a tone, as most streams have sound."""
    pace = ["-re"] if live else []
    return [
        *(*pace, "-f", "lavfi", "-i", f"color=red:size=96x64:rate=25:duration={seconds}"),
        *(*pace, "-f", "lavfi", "-i", f"sine=duration={seconds}"),
    ]


@contextmanager
def ffmpeg(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    with running("ffmpeg", "-v", "error", *arguments) as process:
        yield process


def make_clip(path: Path, seconds: float = 1.0, *options: str) -> Path:
    subprocess.run(["ffmpeg", "-v", "error", *red(seconds), *options, str(path)], check=True)
    return path


@contextmanager
def rtmp_sender() -> Iterator[str]:
    """Sends to the one who asks first. Yields the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    url = f"rtmp://127.0.0.1:{port}/live/secret-key"
    encoded = ("-c:v", "flv1", "-g", "5", "-c:a", "aac", "-f", "flv", "-listen", "1")
    with ffmpeg(*red(30, live=True), *encoded, url):
        # A connection that only looks would be the one that is served.
        wait_until(lambda: _listens(port), "ffmpeg to listen", 30)
        yield url


def _listens(port: int) -> bool:
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1].endswith(f":{port:04X}") and row[3] == "0A" for row in rows)


@contextmanager
def mute_server() -> Iterator[int]:
    """Takes connections and says nothing. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@contextmanager
def garbage_server() -> Iterator[int]:
    """Sends noise to everybody, and hangs up. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        stop, stopped = socket.socketpair()

        def serve() -> None:
            while stopped not in select.select([server, stopped], [], [])[0]:
                connection, _ = server.accept()
                with connection:
                    connection.sendall(os.urandom(20_000))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.send(b"!")
            thread.join()
            stop.close()
            stopped.close()


class CameraServer(http.server.ThreadingHTTPServer):
    """An MJPEG camera at /camera; the files of a folder beside it. `sending`, once cleared, makes the camera stall;
    `asked` is set by each who asks it.

    `hang_up()` ends what it sends; who asks again is served again. `login`: user:password that it asks for.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), functools.partial(_Handler, directory=str(folder)))
        self.sending = threading.Event()
        self.sending.set()
        self.asked = threading.Event()
        self.size = (64, 48)
        self.login: str | None = None
        self.generation = 0
        self._over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def hang_up(self) -> None:
        self.generation += 1

    def send_when_asked(self) -> None:
        self.asked.wait(30)
        self.sending.set()

    def stopped_within(self, seconds: float) -> bool:
        return self._over.wait(seconds)

    def stop(self) -> None:
        self._over.set()
        self.sending.set()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients go when they like."""


class _Handler(http.server.SimpleHTTPRequestHandler):
    server: CameraServer

    def do_GET(self) -> None:
        if self.server.login is not None and self.headers["Authorization"] != _basic(self.server.login):
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="cameras"')
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/camera"):
            self.server.asked.set()
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            self._send_frames(self.server.generation)
        else:
            super().do_GET()

    def _send_frames(self, generation: int) -> None:
        while not self.server.stopped_within(0.02) and self.server.generation == generation:
            self.server.sending.wait()
            width, height = self.server.size
            jpeg = cv2.imencode(".jpg", np.full((height, width, 3), (0, 0, 255), np.uint8))[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, *args: Any) -> None: ...


def _basic(login: str) -> str:
    return f"Basic {base64.b64encode(login.encode()).decode()}"


@contextmanager
def camera_server(folder: Path, port: int = 0) -> Iterator[CameraServer]:
    with CameraServer(folder, port) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.stop()
            server.shutdown()
            thread.join()


@contextmanager
def live_hls(folder: Path) -> Iterator[Path]:
    """A list of parts of half a second that grows as time passes; it has an end once this ends. Yields its file."""
    playlist = folder / "live.m3u8"
    encoded = ("-c:v", "mpeg2video", "-g", "5", "-c:a", "aac")
    with ffmpeg(*red(30, live=True), *encoded, "-f", "hls", "-hls_time", "0.5", str(playlist)) as process:
        wait_until(lambda: playlist.exists() and playlist.read_text().count("#EXTINF") > 1, "two parts", 30)
        yield playlist
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextmanager
def x_server(root: str) -> Iterator[str]:
    """Xvfb of 160 × 120 pixels, all black (`-br`) or white (`-wr`). Yields its DISPLAY."""
    # Without -noreset it starts anew when the last client leaves, and the next may come in between.
    reading, writing = os.pipe()
    screen = ("-screen", "0", "160x120x24", "-nolisten", "tcp", "-noreset", root)
    process = subprocess.Popen(
        ["Xvfb", *screen, "-displayfd", str(writing)], pass_fds=[writing], stderr=subprocess.DEVNULL
    )
    try:
        os.close(writing)
        with os.fdopen(reading) as answer:
            yield f":{answer.readline().strip()}"
    finally:
        process.kill()
        process.wait()
