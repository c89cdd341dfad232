"""What an S3 store says when something is wrong, by a server that answers like real ones, with boto3 on the wire."""

import contextlib
import errno
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore.config import Config

from masktrain_trainer.config import DatasetSpec, StoreSpec
from masktrain_trainer.data.source import fetch as fetching
from masktrain_trainer.errors import DiskFull, InvalidDataset, StoreDenied, StoreError, StoreUnavailable
from masktrain_trainer.stores import Store, open_store, opening, s3

URI = "s3://datasets/masks.zip"
PAGE = b"<!doctype html><html><title>Console</title></html>" * 40
XML = "application/xml"
HTML = "text/html; charset=utf-8"
OBJECT = {"ETag": '"x"', "Last-Modified": "Wed, 01 Jan 2025 00:00:00 GMT", "Content-Type": "application/zip"}


def words(code: str, message: str, more: str = "") -> bytes:
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}<RequestId>1</RequestId></Error>"
    return f'<?xml version="1.0" encoding="UTF-8"?>{body}'.encode()


@dataclass(frozen=True)
class Answer:
    """`cut`: only half of the body is sent. `after`: what the server waits for before it says a word."""

    status: int = 200
    body: bytes = b"content" * 1000
    headers: dict[str, str] = field(default_factory=lambda: OBJECT)
    cut: bool = False
    after: threading.Event | None = None


def refusal(status: int, code: str, message: str, more: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, words(code, message, more), {"Content-Type": XML} | named)


@dataclass
class Server:
    """`head` is what a HEAD gets, without its body; unset it is what a GET gets."""

    endpoint: str = ""
    get: Answer = field(default_factory=Answer)
    head: Answer | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def store(self) -> Store:
        return open_store("s3://datasets", self.spec, None)

    @property
    def spec(self) -> StoreSpec:
        return StoreSpec(endpoint=self.endpoint)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKTEST")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "token")
    # The same tries without the waits between them are not to be had of botocore.
    impatient = Config(read_timeout=0.3, retries={"mode": "standard", "total_max_attempts": 1})
    monkeypatch.setattr(s3, "_READING", s3._READING.merge(impatient))
    found = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(found)) as http:
        found.endpoint = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        http.shutdown()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer(server.head or server.get, with_body=False)

        def do_GET(self) -> None:
            self._answer(server.get, with_body=True)

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # of a client that has waited long enough
                super().handle()

        def _answer(self, answer: Answer, *, with_body: bool) -> None:
            server.asked.append((self.command, self.headers.get("Range", "")))
            if answer.after is not None:
                answer.after.wait(30)
            self.send_response_only(answer.status)  # without a date of its own
            for name, value in ({"Content-Length": str(len(answer.body))} | answer.headers).items():
                self.send_header(name, value)
            self.end_headers()
            if with_body:
                self.wfile.write(answer.body[: len(answer.body) // 2] if answer.cut else answer.body)
                self.close_connection = answer.cut

        def log_message(self, *_: object) -> None:
            pass

    return Handler


EXPIRED = refusal(400, "ExpiredToken", "The provided token has expired.")
SKEWED = refusal(
    403,
    "RequestTimeTooSkewed",
    "The difference between the request time and the current time is too large.",
    "<RequestTime>20200102T030405Z</RequestTime><ServerTime>2031-02-03T04:05:06Z</ServerTime>",
)
ELSEWHERE = (
    "The authorization header is malformed; the region 'us-east-1' is wrong; expecting 'eu-central-1'"  # as AWS says it
)
RIGHT_REGION = r"^Bucket 'datasets' is not in region 'us-east-1' but in 'eu-central-1'; correct the store's region\.$"
REFUSALS: dict[str, tuple[Answer, type[StoreError], str]] = {
    "expired": (
        EXPIRED,
        StoreDenied,
        r"refuses access to .* \(ExpiredToken\): the session token has expired; renew it",
    ),
    "skewed": (
        SKEWED,
        StoreDenied,
        r"\(RequestTimeTooSkewed\): the clock here says 20.* UTC, the store's says 2031-02-03 04:05:06 UTC; set the",
    ),
    "skewed without its time": (
        refusal(403, "RequestTimeTooSkewed", "…", Date="Mon, 03 Feb 2031 04:05:06 GMT"),
        StoreDenied,
        "the store's says 2031-02-03 04:05:06 UTC",
    ),
    "region in a header": (
        refusal(400, "AuthorizationHeaderMalformed", "…", x_amz_bucket_region="eu-central-1"),
        StoreDenied,
        RIGHT_REGION,
    ),
    "region in the body": (
        refusal(400, "AuthorizationHeaderMalformed", "…", "<Region>eu-central-1</Region>"),
        StoreDenied,
        RIGHT_REGION,
    ),
    "region in a sentence": (refusal(400, "AuthorizationHeaderMalformed", ELSEWHERE), StoreDenied, RIGHT_REGION),
    "region nowhere": (
        refusal(400, "AuthorizationHeaderMalformed", "…"),
        StoreDenied,
        "is not in region 'us-east-1'; correct the store's region",
    ),
    "denied": (refusal(403, "AccessDenied", "Access Denied"), StoreDenied, "these keys have no right to it"),
    "unknown key": (
        refusal(403, "InvalidAccessKeyId", "…"),
        StoreDenied,
        r"\(InvalidAccessKeyId\); check the Secret's",
    ),
    "slow down": (
        refusal(503, "SlowDown", "Please reduce your request rate."),
        StoreUnavailable,
        "asks for fewer requests or has too much to do .*; this may pass",
    ),
    "no words at all": (
        Answer(400, b"", {}),
        StoreDenied,
        r"does not accept what is asked of s3://datasets/masks.zip \(400\): Bad Request\.$",
    ),
    "words that nobody knows": (
        refusal(400, "XMinioServerNotInitialized", "x" * 100_000),
        StoreDenied,
        r"does not accept .* \(XMinioServerNotInitialized\): x{250,300}….?$",
    ),
    "a time-out": (refusal(400, "RequestTimeout", "Your socket was not read."), StoreUnavailable, "RequestTimeout"),
    "a proxy's refusal": (Answer(403, PAGE, {"Content-Type": HTML}), StoreDenied, "with a web page .403. .* S3 API"),
    "a proxy without its store": (
        Answer(502, PAGE, {"Content-Type": HTML}),
        StoreUnavailable,
        r"answers with a web page \(502\) .*this may pass",
    ),
}


@pytest.mark.parametrize(("answer", "kind", "sentence"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_is_one_true_sentence(server: Server, answer: Answer, kind: type[StoreError], sentence: str) -> None:
    """Which a HEAD alone cannot say: its answer has no body."""
    server.get = answer
    with pytest.raises(kind, match=sentence) as caught:
        server.store.head("masks.zip")
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_what_is_asked_again_is_one_byte(server: Server) -> None:
    server.get = EXPIRED
    with pytest.raises(StoreDenied):
        server.store.head("masks.zip")
    assert ("GET", "bytes=0-0") in server.asked


@pytest.mark.parametrize("status", [403, 405, 501])
def test_a_server_that_takes_no_head_is_read_all_the_same(server: Server, tmp_path: Path, status: int) -> None:
    server.head = Answer(status, b"", {})
    found = server.store.head("masks.zip")
    assert found is not None
    assert (found.size, found.etag) == (7000, '"x"')


def test_the_size_is_that_of_the_whole_and_not_of_the_byte(server: Server) -> None:
    server.head = Answer(405, b"", {})
    server.get = Answer(206, b"c", OBJECT | {"Content-Range": "bytes 0-0/7000"})
    found = server.store.head("masks.zip")
    assert found is not None
    assert found.size == 7000


def fetch(server: Server, folder: Path, lines: list[str] | None = None) -> None:
    said = [] if lines is None else lines
    fetching.fetch(DatasetSpec(uri=URI, store=server.spec), folder / "masks.zip", None, said.append)


def test_a_body_that_is_cut_off_again_and_again_is_said(server: Server, tmp_path: Path) -> None:
    server.get = Answer(cut=True)
    with pytest.raises(StoreUnavailable, match=rf"^{URI} is cut off before its end by http://127.0.0.1") as caught:
        fetch(server, tmp_path)
    assert caught.value.exit_code == 1, "tried again"


@pytest.mark.parametrize("code", ["InvalidObjectState", "NotRestored"])
def test_an_archived_object_is_final(server: Server, tmp_path: Path, code: str) -> None:
    """Restoring takes hours: no attempt in the next minutes can work."""
    server.head = Answer()
    server.get = refusal(403, code, "The operation is not valid for the object's storage class")
    with pytest.raises(StoreDenied, match=rf"^{URI} lies in an archive tier \({code}\); restore it first"):
        fetch(server, tmp_path)


def test_a_consoles_page_in_place_of_the_object_is_called_one(server: Server, tmp_path: Path) -> None:
    server.get = Answer(200, PAGE, OBJECT | {"Content-Type": HTML})
    with pytest.raises(InvalidDataset, match=rf"^{URI} is a web page, not a zip; give the address of the zip itself"):
        fetch(server, tmp_path)


def test_a_console_that_knows_no_etag_is_no_s3(server: Server, tmp_path: Path) -> None:
    server.get = Answer(200, PAGE, {"Content-Type": HTML})
    with pytest.raises(StoreDenied, match=r"answers, but not as S3 does, .*; set the store's endpoint"):
        fetch(server, tmp_path)


@pytest.mark.parametrize("silent", ["HEAD", "GET"])
def test_a_store_that_hangs_is_waited_for_aloud_and_not_for_ever(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    monkeypatch.setattr(opening, "SECONDS_BETWEEN_LINES", 0.05)
    done = threading.Event()
    server.head = Answer(after=done if silent == "HEAD" else None)
    server.get = Answer(after=done)
    lines: list[str] = []
    with pytest.raises(StoreUnavailable, match="takes requests and sends nothing back, when asked for s3://datasets/"):
        fetch(server, tmp_path, lines)
    done.set()
    assert f"waiting for {URI}: nothing has come for 0 s" in lines


def test_a_hang_is_bounded_by_less_than_two_minutes() -> None:
    reading = vars(s3._READING)
    assert reading["read_timeout"] * reading["retries"]["total_max_attempts"] <= 100


def test_a_disk_that_is_full_is_not_called_the_stores_fault(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(s3.S3Store, "_download", fails)
    with pytest.raises(DiskFull, match=f"The disk here has no room for {URI}"):
        server.store.download("masks.zip", tmp_path / "masks.zip")
    with pytest.raises(OSError, match="No space left"):
        fetch(server, tmp_path)
