"""`masktrain detect --serve`: what is detected now, in a browser, at thresholds that whoever looks may move.

Three threads share a `Show` (`live_show.py`): one detects, one serves it, and the one that called waits for their end.
The server has a picture that moves, its state, and two switches; it reads no file and writes none.

Requests are strangers' text. From this machine alone unless an address is given: then a `Host` header of another name
is a page elsewhere that had its name lead here (DNS rebinding). What changes something takes JSON from the page's own
origin only, or from programs that say so in a header, which no other page's form can.
"""

import asyncio
import ipaddress
import os
import re
import secrets
import signal
import socket
import threading
import webbrowser
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, wait
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from aiohttp.typedefs import Handler
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import BaseModel, ConfigDict, ValidationError

from masktrain_trainer.errors import InvalidConfiguration, printable
from masktrain_trainer.predict.drawing import BoxStyle, class_colour

from .background import Work, in_background, leave
from .detector import Detector
from .live_show import Picture, Settings, Show
from .sources.base import Source

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8080
OWN_HEADER = "X-MaskTrain"
"""Any value: it is its presence that a form of another page cannot bring about."""
MOST_VIEWERS = 32
LARGEST_BODY = 16 * 1024
BODY_SECONDS = 5.0
STALLED_SECONDS = 30.0
"""A viewer that has taken nothing for so long has gone."""
STATE_SECONDS = 0.25
GOODBYE_SECONDS = 0.4
"""For the last words to viewers that read."""
TELLING_SECONDS = 5.0
"""After the end of a source: for pages that were sent and have not heard of it yet. A signal waits for none."""
LEAVING_SECONDS = 0.6
"""From the end to the return: what still computes, or waits in a read that cannot be cut short, is left behind."""

_ADDRESS = re.compile(r"(?:\[(?P<six>[^\[\]\s]+)\]|(?P<host>[^:\[\]\s/]*?))(?:(?:^|:)(?P<port>\d+))?")
_HOST = re.compile(r"(\[[^\]]*\]|[^:]*)(?::\d*)?")
_BOUNDARY = "frame"
_HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "Server": "masktrain",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; script-src 'nonce-{nonce}'; "
    "style-src 'nonce-{nonce}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def serve_live(
    source: Source, detector: Detector, names: list[str], address: str, style: BoxStyle, *, open_browser: bool
) -> Iterator[str]:
    """Serve the page until the source ends, or until Ctrl-C or SIGTERM. Yields lines to print, its address first.

    `address`: `HOST:PORT`, either of them, or nothing for this machine alone; port 0 lets the system choose. A source
    that has an end waits for the first viewer. Raises UserError: of the address before anything has begun, of the
    source when all have been told.
    """
    show = Show(source, detector, names, style)
    running: list[Work[None]] = []
    with bind(address) as listening, _terminable():
        site = Site(show, listening)
        try:
            running += [in_background(site.run, "live page"), in_background(show.run, "detecting")]
            yield f"Live page: {site.url} (Ctrl-C ends it)"
            yield from site.warnings
            if open_browser and not _opened(site.url):
                yield "No browser could be opened here: open the address in one."
            if not source.live:
                yield "It begins when somebody looks."
            wait(running, return_when=FIRST_COMPLETED)
            site.tell(TELLING_SECONDS)
        except KeyboardInterrupt:
            pass
        finally:
            show.end("The command was ended.")
            source.close()
            site.close()
            ended = leave(*running, seconds=LEAVING_SECONDS)
    for part in ended:
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


Document = TypeVar("Document", bound=BaseModel)


class Running(BaseModel):
    """Start or stop."""

    model_config = ConfigDict(extra="forbid", strict=True)

    running: bool


def bind(address: str) -> socket.socket:
    """Listen at `HOST:PORT`, either of them or nothing. Raises InvalidConfiguration, also for a port that is taken."""
    host, port = _host_and_port(address)
    try:
        family, *_, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family)
    except (OSError, UnicodeError) as error:
        why = "no such host" if isinstance(error, (socket.gaierror, UnicodeError)) else os.strerror(error.errno or 0)
        raise InvalidConfiguration(
            f"The live page cannot be served at {host}, port {port} ({why}): give --serve another address of this "
            "machine, or port 0 for any free one."
        ) from error


def _host_and_port(address: str) -> tuple[str, int]:
    found = _ADDRESS.fullmatch(address.strip())
    if found is None or int(found["port"] or 0) > 65_535:
        raise InvalidConfiguration(
            f"{address} is not an address to serve at: it reads HOST:PORT, for instance 127.0.0.1:8080."
        )
    return found["six"] or found["host"] or DEFAULT_HOST, DEFAULT_PORT if found["port"] is None else int(found["port"])


class Site:
    """Serves a show at a bound socket; `run` in a thread of its own, until `close` is called in any other."""

    def __init__(self, show: Show, listening: socket.socket) -> None:
        self._show, self._socket = show, listening
        self._host, self._port = listening.getsockname()[:2]
        self._local = ipaddress.ip_address(self._host.partition("%")[0]).is_loopback
        self._loop = asyncio.new_event_loop()
        self._news, self._closing = asyncio.Event(), asyncio.Event()
        self._open: Counter[str] = Counter()
        self._unheard = 0

    @property
    def url(self) -> str:
        """Where this machine's own browser finds it."""
        return f"http://{_as_host(_reachable(self._host))}:{self._port}/"

    @property
    def warnings(self) -> list[str]:
        """Whom else it is open to."""
        if self._local:
            return []
        name = socket.gethostname() if ipaddress.ip_address(self._host).is_unspecified else _as_host(self._host)
        return [
            f"Anybody in this machine's network can look at it and move its sliders, at http://{name}:{self._port}/."
        ]

    def run(self) -> None:
        """Until closed."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    def tell(self, seconds: float) -> None:
        """Wait, so long at most, until every page that was sent has heard how it ended."""
        if self._loop.is_closed():
            return
        heard = asyncio.run_coroutine_threadsafe(self._heard(), self._loop)
        wait([heard], seconds)
        heard.cancel()

    async def _heard(self) -> None:
        while self._unheard or self._open["/events"]:
            await self._news.wait()

    def close(self) -> None:
        """What is still open ends."""
        self._call(self._closing.set)

    def _call(self, what: Callable[[], object]) -> None:
        # The loop may have ended already, with whatever ended its thread.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    async def _serve(self) -> None:
        runner = web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            handler_cancellation=True,
            shutdown_timeout=GOODBYE_SECONDS,
        )
        await runner.setup()
        self._show.listen(lambda: self._call(self._wake))
        try:
            await web.SockSite(runner, self._socket).start()
            await self._closing.wait()
        finally:
            self._show.listen(None)
            self._wake()
            await runner.cleanup()

    def _wake(self) -> None:
        """All who wait for news now; who comes later waits for the next."""
        self._news.set()
        self._news = asyncio.Event()

    def _application(self) -> web.Application:
        application = web.Application(middlewares=[self._guard], client_max_size=LARGEST_BODY)
        application.add_routes(
            [
                web.get("/", self._page),
                web.get("/stream", self._stream),
                web.get("/state", self._state),
                web.get("/events", self._events),
                web.post("/settings", self._set),
                web.post("/running", self._switch),
            ]
        )
        application.on_response_prepare.append(_add_headers)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        name = _HOST.fullmatch(request.host)
        if self._local and (name is None or name[1].lower() not in {"localhost", "127.0.0.1", "[::1]", self._host}):
            raise web.HTTPMisdirectedRequest(text="This page answers to localhost only; open it by that name.")
        if request.method not in {"GET", "HEAD"} and not _is_own(request):
            raise web.HTTPForbidden(text=f"Only the page itself changes anything, or programs that send {OWN_HEADER}.")
        return await handler(request)

    async def _page(self, _: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(18)
        html = _TEMPLATES.get_template("live.html.j2").render(
            nonce=nonce,
            title=self._show.title,
            settings=self._show.state(self._open["/stream"]).settings,
            classes=[(index, name, class_colour(index)) for index, name in self._show.names.items()],
        )
        # It opens `/events` when it is there.
        self._unheard += 1
        headers = {"Content-Security-Policy": _POLICY.format(nonce=nonce)}
        return web.Response(text=html, content_type="text/html", headers=headers)

    async def _state(self, _: web.Request) -> web.Response:
        return self._told()

    def _told(self) -> web.Response:
        return web.json_response(text=self._show.state(self._open["/stream"]).model_dump_json())

    async def _set(self, request: web.Request) -> web.Response:
        change = await _document(request, Settings)
        try:
            self._show.change(change)
        except InvalidConfiguration as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        return self._told()

    async def _switch(self, request: web.Request) -> web.Response:
        self._show.set_running((await _document(request, Running)).running)
        return self._told()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """Each viewer gets the newest picture whenever it has taken the last one."""
        async with self._viewer(request, f"multipart/x-mixed-replace; boundary={_BOUNDARY}") as response:
            await response.write(f"--{_BOUNDARY}\r\n".encode())
            version = -1
            while True:
                news, ended = self._news, self._show.ended is not None
                picture = await asyncio.to_thread(self._show.picture)
                if picture is not None and picture.version != version:
                    version = picture.version
                    async with asyncio.timeout(STALLED_SECONDS):
                        await response.write(_part(picture))
                elif ended:
                    break
                else:
                    await news.wait()
        return response

    async def _events(self, request: web.Request) -> web.StreamResponse:
        """The state some times a second (server-sent events), the last one with the sentence of the end."""
        self._unheard = max(0, self._unheard - 1)
        async with self._viewer(request, "text/event-stream") as response:
            while True:
                state = self._show.state(self._open["/stream"])
                async with asyncio.timeout(STALLED_SECONDS):
                    await response.write(f"data: {state.model_dump_json()}\n\n".encode())
                if state.ended is not None:
                    break
                await self._pause()
        return response

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(STATE_SECONDS):
                await self._closing.wait()
        except TimeoutError:
            pass

    @asynccontextmanager
    async def _viewer(self, request: web.Request, content_type: str) -> AsyncIterator[web.StreamResponse]:
        """A response without an end, for one of so many viewers; who goes away, or stops reading, is let go."""
        if self._open[request.path] >= MOST_VIEWERS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_VIEWERS} people look already.")
        response = web.StreamResponse(headers={"Content-Type": content_type})
        self._open[request.path] += 1
        self._show.look()
        try:
            await response.prepare(request)
            yield response
        except (ConnectionError, TimeoutError):
            response.force_close()
        finally:
            self._open[request.path] -= 1
            self._wake()


_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent),
    # Names of classes and files are other people's text.
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


async def _add_headers(_: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(_HEADERS)
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'")


def _is_own(request: web.Request) -> bool:
    """Browsers say from which page a POST comes; programs say nothing and have to."""
    origin = request.headers.get("Origin")
    return OWN_HEADER in request.headers if origin is None else origin.partition("://")[2] == request.host


async def _document(request: web.Request, kind: type[Document]) -> Document:
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="Send JSON (Content-Type: application/json).")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        raise web.HTTPRequestTimeout(text="The request did not arrive whole in time.") from error
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise web.HTTPBadRequest(text=_sentence(error)) from error


def _sentence(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = printable(".".join(str(part) for part in first["loc"]))[:80]
    return f"{place or 'body'}: {first['msg']}."


def _part(picture: Picture) -> bytes:
    """With the boundary behind it, without which browsers would keep the picture until the next one comes."""
    head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n"
    return head.encode() + picture.jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()


def _reachable(host: str) -> str:
    """The wildcard addresses are none that one can go to."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared with, not bound to


def _as_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
