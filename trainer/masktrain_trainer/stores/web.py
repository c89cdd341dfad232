"""Files from the web: the one download, of weights, data sets and media; by https:// alone, but for media.

Links may be keys. So what is said of one leaves out its query and its token, and what redirects lead to is in no log.
Redirects are followed by hand, because each is looked at: no server shall send a pod to a service without TLS, nor from
the internet into the pod's own network. A body that is cut off goes on where it ended, if the server knows ranges.
"""

import base64
import contextlib
import http
import io
import logging
import os
import re
import socket
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote, urljoin, urlsplit

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from masktrain_trainer.config import DATASET_URL_VARIABLE, SecretKeyRef, shown_url
from masktrain_trainer.errors import StoreUnavailable, UserError

PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
RETRY: Final = urllib3.Retry(
    total=5,
    backoff_factor=0.5,
    status_forcelist=PASSING,
    # It may ask for a day.
    respect_retry_after_header=False,
)
_TIMEOUT: Final = urllib3.Timeout(connect=20, read=20)
_HEADERS: Final = {"User-Agent": "masktrain", "Accept-Encoding": "identity"}
_CHUNK: Final = 1 << 16
"""Small, because a chunk is there when all of it has come, and who waits on a slow line shall see it come."""
_MOST_REDIRECTS: Final = 5
_FRUITLESS: Final = 4
"""Bodies in a row that end before the file grows."""
_MOST_BODIES: Final = 100
_PAUSE_SECONDS = 1.0
"""Before the second body; doubled before each further one that brought nothing."""
_WORDS_BYTES: Final = 4096
"""Of what a server says about a refusal."""


class NotTheFile(ValueError):
    """Why a link gives no file, as the rest of a sentence that begins with its name; asking again would not help.

    Without a full stop: whoever knows what the link is for says what to do.
    """


class NotThere(NotTheFile):
    """The server knows no such file."""


class Refused(NotTheFile):
    """The server wants a login, or another one."""


class Unreachable(StoreUnavailable):
    """After the last try. A download that is cut off in the middle is no such thing."""


def download(
    url: str,
    path: Path,
    *,
    largest: int,
    name: str | None = None,
    retries: urllib3.Retry | None = None,
    expect: Callable[[int], None] = lambda _: None,
    plain: bool = False,
) -> None:
    """Write what the link leads to, of at most `largest` bytes, to the file `path`.

    `name` is what sentences call it; `expect` hears how many bytes will come, as soon as that is known; `plain`: http://
    will do, for what a person asked for and nothing is kept in, such as a camera's picture. Raises NotTheFile,
    StoreUnavailable, and OSError for the disk's failures.
    """
    shown = name or shown_url(url)
    with _in_words(shown), path.open("wb") as file:
        _Transfer(url, shown, file, largest, retries or RETRY, expect, plain).run()


@dataclass(frozen=True)
class Head:
    """What a server says of a file before it sends it. `media_type`: in lower case, empty if it says none."""

    media_type: str
    length: int | None


def look(url: str, *, plain: bool = False) -> Head:
    """Ask for the link and read no more than the beginning of the answer. Raises as `download` does."""
    shown = shown_url(url)
    transfer = _Transfer(url, shown, io.BytesIO(), 0, RETRY, lambda _: None, plain)
    with _in_words(shown), transfer.answer({}) as response:
        return Head(
            response.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
            _number(response.headers.get("Content-Length", "")),
        )


@contextlib.contextmanager
def _in_words(shown: str) -> Iterator[None]:
    """Failures as sentences, and no key in any of them or in a log."""
    try:
        with _quiet_about_keys():
            yield
    except urllib3.exceptions.MaxRetryError as error:
        # Without the cause: its text has the whole address, and a crash's traceback would show it.
        raise Unreachable(f"{shown} cannot be downloaded: {_cause(error)}.") from None
    except ssl.SSLError:
        raise StoreUnavailable(f"{shown} cannot be downloaded: TLS failed.") from None
    except (NotTheFile, OSError):
        raise
    except ValueError:
        raise NotTheFile("is no address on the web, or leads to what is none") from None
    except urllib3.exceptions.HTTPError as error:
        raise StoreUnavailable(f"{shown} cannot be downloaded: {_cause(error)}.") from None


def link_in_secret(path: str, secret: SecretKeyRef, where: str, kind: type[UserError]) -> str:
    """The link in the mounted file of a Secret's key; what is wrong with it is said without showing it.

    `where` is the field that names the Secret. Raises `kind`.
    """
    place = f"Secret {secret.name!r} of {where}"
    try:
        url = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise kind(f"{place} does not exist or has no text under its key {secret.key!r}.") from None
    if not is_link(url):
        raise kind(f"The key {secret.key!r} of {place} must hold an https:// URL and nothing else.")
    return url


def is_link(text: str) -> bool:
    try:
        return re.fullmatch(r"https://[^\s/@]+/\S+", text) is not None and urlsplit(text).hostname is not None
    except ValueError:  # brackets that hold no address, or letters that only look like a separator
        return False


def shown_link(link: str) -> str:
    """What may be shown of it, which has the form of a link, too."""
    shown = shown_url(link)
    return shown if is_link(shown) else f"{shown}…"


def whole_link(uri: str) -> str:
    """The link of which `uri` is what may be shown, where the environment has it; else `uri` itself."""
    link = os.environ.get(DATASET_URL_VARIABLE, "").strip()
    return link if link and shown_link(link) == uri else uri


@dataclass
class _Transfer:
    url: str
    shown: str
    file: BinaryIO
    largest: int
    retries: urllib3.Retry
    expect: Callable[[int], None]
    plain: bool = False
    validator: str | None = None
    """What names this version of the file to If-Range; without it a cut body begins anew."""
    total: int | None = None
    resumed: bool = False

    def run(self) -> None:
        fruitless, furthest = 0, 0
        for _ in range(_MOST_BODIES):
            if self._pour():
                return
            fruitless = 0 if self.resumed and self.file.tell() > furthest else fruitless + 1
            furthest = max(furthest, self.file.tell())
            if fruitless >= _FRUITLESS:
                break
            time.sleep(_PAUSE_SECONDS * 2**fruitless)
        of = "" if self.total is None else f" of {self.total:,}"
        raise StoreUnavailable(
            f"{self.shown} cannot be downloaded: its body is cut off again and again, after {furthest:,}{of} bytes; a "
            "proxy or the server ends the connection too early."
        )

    def _pour(self) -> bool:
        """Whether the body came to its end."""
        with self.answer(self._range()) as response:
            if response.status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                self._forget()
                return False
            self._begin(response)
            try:
                # As it comes: a kilobyte of gzip may be a gigabyte.
                for chunk in response.stream(_CHUNK, decode_content=False):
                    self.file.write(chunk)
                    # The announced length may be missing, or a lie.
                    self._refuse_size(self.file.tell())
            # Its length is compared by urllib3 itself.
            except (urllib3.exceptions.HTTPError, ssl.SSLError):
                return False
        return self.total is None or self.file.tell() >= self.total

    def _range(self) -> dict[str, str]:
        here = self.file.tell()
        return {"Range": f"bytes={here}-", "If-Range": self.validator} if here and self.validator else {}

    def _begin(self, response: urllib3.BaseHTTPResponse) -> None:
        """Put the file to where this body begins."""
        headers = response.headers
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            part = re.match(r"bytes ([0-9]{1,18})-", headers.get("Content-Range", ""))
            if part is None or int(part[1]) != self.file.tell() or self.validator is None:
                raise NotTheFile("is sent in parts that were not asked for")
            self.resumed = True
            return
        self._forget()
        self.total = _number(headers.get("Content-Length", ""))
        etag = headers.get("ETag", "")
        # Of a weak one it is not said that the bytes are the same.
        self.validator = headers.get("Last-Modified") if etag.startswith("W/") or not etag else etag
        if self.total is not None:
            self._refuse_size(self.total)
            self.expect(self.total)

    def _forget(self) -> None:
        """Begin anew: the server has another file by now, or knows no ranges."""
        self.file.seek(0)
        self.file.truncate()
        self.validator, self.total, self.resumed = None, None, False

    def _refuse_size(self, size: int) -> None:
        if size > self.largest:
            raise NotTheFile(f"is larger than {self.largest:,} bytes")

    @contextlib.contextmanager
    def answer(self, more: dict[str, str]) -> Iterator[urllib3.BaseHTTPResponse]:
        """The answer at the end of the redirects, if it is the file."""
        way, hop = _Way(self.plain), self.url
        login, asked = login_header(self.url), _server(self.url)
        for _ in range(_MOST_REDIRECTS + 1):
            way.enter(hop)
            # Not into memory: a file may have many gigabytes.
            with (
                _client(hop, way) as client,
                client.request(
                    "GET",
                    hop,
                    # To nobody else, wherever the server leads.
                    headers=_HEADERS | more | (login if _server(hop) == asked else {}),
                    redirect=False,
                    preload_content=False,
                    retries=self.retries,
                    timeout=_TIMEOUT,
                ) as response,
            ):
                location = response.get_redirect_location()
                if not location:
                    _require_success(response, partial=bool(more))
                    yield response
                    return
                hop = urljoin(hop, location)
        raise NotTheFile("is redirected again and again")


def login_header(url: str) -> dict[str, str]:
    """Of the login that stands in an address, of which urllib3 takes no notice; nothing where none stands there."""
    parts = urlsplit(url)
    if not parts.username:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {base64.b64encode(login.encode(errors='replace')).decode()}"}


def _server(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _number(announced: str) -> int | None:
    return int(announced) if re.fullmatch(r"[0-9]{1,18}", announced) else None


def _require_success(response: urllib3.BaseHTTPResponse, *, partial: bool) -> None:
    status = response.status
    if status in (http.HTTPStatus.NOT_FOUND, http.HTTPStatus.GONE):
        raise NotThere("does not exist on its server")
    if status in (http.HTTPStatus.OK, http.HTTPStatus.PARTIAL_CONTENT):
        return
    if partial and status == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return
    words = b""
    with contextlib.suppress(urllib3.exceptions.HTTPError, ssl.SSLError):
        words = response.read(_WORDS_BYTES, decode_content=False)
    # Only this one word of it: servers quote links, with their keys.
    expired = " because it has expired" if re.search(b"(?i)expired|not valid in the specified time", words) else ""
    raise Refused(f"was refused by its server with status {status}{expired}")


@dataclass
class _Way:
    """What is known of the servers on a way of redirects.

    A link may lead to the internet from anywhere, but into a network that is nobody else's only from there: else a
    server chooses which service of the cluster, or of its node, a pod speaks to.
    """

    plain: bool = False
    hops: int = 0
    origin: str = "public"
    secure: bool = False
    pools: dict[str, type[urllib3.HTTPConnectionPool]] = field(init=False)

    def __post_init__(self) -> None:
        way = self

        class LookedAt(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                connection = super()._new_conn()
                try:
                    # Of the connection itself: a name may have another address each time that it is asked for.
                    way.meet(str(connection.getpeername()[0]))
                except BaseException:
                    connection.close()
                    raise
                return connection

        class LookedAtWithTLS(LookedAt, HTTPSConnection):
            pass

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = LookedAt

        class Pool(urllib3.HTTPSConnectionPool):
            ConnectionCls = LookedAtWithTLS

        self.pools = {"https": Pool} | ({"http": PlainPool} if self.plain else {})

    def enter(self, url: str) -> None:
        """Before a request. Raises NotTheFile, ValueError for what is no address."""
        parts = urlsplit(url)
        # Also where http:// will do, not back to it.
        if parts.scheme not in self.pools or (self.secure and parts.scheme != "https"):
            raise NotTheFile("is redirected to an address without TLS, which is not followed")
        self.hops += 1
        self.secure = parts.scheme == "https"
        with contextlib.suppress(_NoAddress):
            # Also where a proxy connects, whose own address says nothing.
            self.meet(parts.hostname or "")

    def meet(self, address: str) -> None:
        network = _network(address)
        if self.hops == 1:
            self.origin = network
        elif network not in ("public", self.origin):
            raise NotTheFile(f"is redirected to a {network} address, which is not followed")


class _NoAddress(ValueError):
    """A name, which somebody else resolves."""


def _network(address: str) -> str:
    """Where the address is valid."""
    try:
        found = ip_address(address)
    except ValueError:
        raise _NoAddress(address) from None
    found = getattr(found, "ipv4_mapped", None) or found
    if found.is_link_local:
        return "link-local"
    if found.is_loopback:
        return "loopback"
    return "public" if found.is_global else "private"


def _client(url: str, way: _Way) -> urllib3.PoolManager:
    """Through the proxy that HTTPS_PROXY and NO_PROXY ask for: many clusters reach the internet only so."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxy = None if urllib.request.proxy_bypass(host) else urllib.request.getproxies().get(parts.scheme)
    if proxy:
        client: urllib3.PoolManager = urllib3.ProxyManager(proxy)
    else:
        client = urllib3.PoolManager()
        client.pool_classes_by_scheme = way.pools
    client.key_fn_by_scheme = {scheme: client.key_fn_by_scheme[scheme] for scheme in way.pools}
    return client


_ONLY_A_HOST: Final = re.compile(r"[^/?#]*")


@contextlib.contextmanager
def _quiet_about_keys() -> Iterator[None]:
    """urllib3 logs the path of each retry, at a level that is printed, and a link's secret is there or in its query."""
    loggers = [logging.getLogger(f"urllib3.{name}") for name in ("connectionpool", "poolmanager", "util.retry")]
    for logger in loggers:
        logger.addFilter(_has_no_key)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(_has_no_key)


def _has_no_key(record: logging.LogRecord) -> bool:
    # Only hosts may be named. A path cannot be told from a key, and that of a redirect is the server's choice.
    return record.name == "urllib3.connectionpool" and _ONLY_A_HOST.fullmatch(record.getMessage()) is not None


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, urllib3.exceptions.SSLError):
        inner = reason.args[0]
        return f"TLS failed ({getattr(inner, 'reason', None) or inner})"
    return str(reason) if isinstance(reason, urllib3.exceptions.ResponseError) else type(reason).__name__
