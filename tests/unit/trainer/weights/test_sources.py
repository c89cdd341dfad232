"""Where weights come from: a real server with TLS, folders, and the release."""

import hashlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme
import urllib3

from masktrain_trainer.config import WEIGHTS_MIRROR_VARIABLE, Architecture, ModelSpec, SecretKeyRef
from masktrain_trainer.errors import InvalidWeights, StoreUnavailable, UnusableWeights
from masktrain_trainer.stores import web
from masktrain_trainer.weights import sources
from masktrain_trainer.weights.load import fetch_weights
from masktrain_trainer.weights.sources import download_weights, official_url, weights_uri

from .yolov5_files import as_released, model, save, source, stripped


@dataclass
class Server:
    """Answers by path; `fails_first` requests get a 503 before."""

    url: str = ""
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    fails_first: int = 0
    requests: int = 0


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Server]:
    found = Server()
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    for variable in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.delenv(WEIGHTS_MIRROR_VARIABLE, raising=False)
    monkeypatch.setattr(sources, "_RETRY", urllib3.Retry(total=2, redirect=2, status_forcelist=(503,)))
    monkeypatch.setattr(web, "_PAUSE_SECONDS", 0.0)
    # The same tries, without the waits between them.
    monkeypatch.setattr(sources, "_OFFICIAL_RETRY", sources._OFFICIAL_RETRY.new(backoff_factor=0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with ThreadingHTTPServer(("localhost", 0), _handler(found)) as http:
        http.socket = context.wrap_socket(http.socket, server_side=True)
        found.url = f"https://localhost:{http.server_port}"
        threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True).start()
        yield found
        http.shutdown()


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests += 1
            status, headers, body = server.answers.get(self.path.partition("?")[0], (404, {}, b""))
            if server.requests <= server.fails_first:
                status, headers, body = 503, {}, b""
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def spec(weights: str, sha256: str | None = None) -> ModelSpec:
    return ModelSpec(architecture=Architecture.YOLOV5N, weights=weights, sha256=sha256)


def fetch(url: str, folder: Path) -> bytes:
    download_weights(spec(url), None, None, folder / "file")
    return (folder / "file").read_bytes()


def test_official_weights_are_those_of_the_release() -> None:
    assert weights_uri(spec("official")) == official_url(Architecture.YOLOV5N)
    assert official_url(Architecture.YOLOV5X6) == (
        "https://github.com/ultralytics/yolov5/releases/download/v7.0/yolov5x6.pt"
    )


def test_a_yolov5_file_comes_by_https(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = save(stripped(model(source())), tmp_path / "yolov5n.pt").read_bytes()
    server.answers = {"/yolov5n.pt": (302, {"Location": "/stored"}, b""), "/stored": (200, {}, content)}
    monkeypatch.setattr(sources, "RELEASE", server.url)
    model_spec = spec("official", hashlib.sha256(content).hexdigest())
    weights = fetch_weights(model_spec, None, None, tmp_path / "weights.pt")
    assert (weights.architecture, len(weights.state_dict)) == (Architecture.YOLOV5N, 349)
    with pytest.raises(InvalidWeights, match=f"^{server.url}/yolov5n.pt has the SHA-256 .* asks for {'0' * 64};"):
        fetch_weights(spec("official", "0" * 64), None, None, tmp_path / "weights.pt")


@pytest.mark.parametrize("ending", ["", "/"])
def test_official_weights_come_from_the_mirror(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    content = as_released(tmp_path / "yolov5n.pt").read_bytes()
    server.answers = {"/yolov5/v7.0/yolov5n.pt": (200, {}, content)}
    monkeypatch.setenv(WEIGHTS_MIRROR_VARIABLE, f"{server.url}/yolov5/v7.0{ending}")
    weights = fetch_weights(spec("official"), None, None, tmp_path / "weights.pt")
    assert (weights.architecture, len(weights.names)) == (Architecture.YOLOV5N, 80)


@pytest.mark.parametrize(
    ("answer", "cause", "requests"),
    [
        ((503, {}, b""), "too many 503 error responses", 3),
        ((404, {}, b""), "it does not exist on its server)", 1),
        ((403, {}, b""), "it was refused by its server with status 403)", 1),
        ((302, {"Location": "https://localhost:1/w.pt"}, b""), "NewConnectionError", 1),
    ],
)
def test_a_release_out_of_reach_ends_the_job_after_three_tries_with_one_sentence(
    server: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: tuple[int, dict[str, str], bytes],
    cause: str,
    requests: int,
) -> None:
    server.answers = {"/yolov5n.pt": answer}
    monkeypatch.setattr(sources, "RELEASE", server.url)
    with pytest.raises(InvalidWeights) as caught:
        fetch_weights(spec("official"), None, None, tmp_path / "weights.pt")
    sentence = str(caught.value)
    assert server.requests == requests
    assert sentence.startswith(f"The official weights {server.url}/yolov5n.pt cannot be had (")
    assert all(words in sentence for words in (cause, "model.weights scratch", "URI", "trainer.weightsMirror"))
    assert (sentence.count(". "), sentence[-1]) == (0, ".")


def test_a_download_that_is_cut_off_is_worth_another_attempt(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.answers = {"/yolov5n.pt": (200, {"Content-Length": "100"}, b"half")}
    monkeypatch.setattr(sources, "RELEASE", server.url)
    with pytest.raises(StoreUnavailable, match="cannot be downloaded"):
        fetch_weights(spec("official"), None, None, tmp_path / "weights.pt")


@pytest.mark.parametrize(
    "mirror",
    [
        "http://mirror.example.com",
        "file:///weights",
        "s3://key:hunter2@bucket/prefix",
        "https://me:hunter2@mirror.example.com/v7.0",
        "https://mirror.example.com/v7.0?signature=hunter2",
        "https://objectstorage.us-ashburn-1.oraclecloud.com/p/hunter2/n/axvision/b/weights/o",
        "https://objectstorage.us-ashburn-1.oraclecloud.com/p/hunter2/",
    ],
)
def test_a_mirror_with_a_key_in_it_is_refused_without_showing_it(
    mirror: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WEIGHTS_MIRROR_VARIABLE, mirror)
    with pytest.raises(InvalidWeights, match=f"^{WEIGHTS_MIRROR_VARIABLE} must ") as caught:
        fetch_weights(spec("official"), None, None, tmp_path / "weights.pt")
    assert "hunter2" not in str(caught.value)


def test_a_signed_url_comes_from_a_secret(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "WEIGHTS_URL", str(tmp_path / "url"))
    (tmp_path / "url").write_text(f"{server.url}/w.pt?signature=secret\n")
    server.answers = {"/w.pt": (200, {}, b"content")}
    behind = ModelSpec(weights_secret_ref=SecretKeyRef(name="weights", key="url"))
    download_weights(behind, None, None, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert not behind.from_scratch
    server.answers = {}
    with pytest.raises(InvalidWeights, match=f"^{server.url}/w.pt does not exist on its server"):
        fetch_weights(behind, None, None, tmp_path / "file")


def test_a_busy_server_is_asked_again(server: Server, tmp_path: Path) -> None:
    server.answers, server.fails_first = {"/w.pt": (200, {}, b"content")}, 2
    assert fetch(f"{server.url}/w.pt", tmp_path) == b"content"


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((404, {}, b""), "does not exist on its server"),
        ((403, {}, b""), "refused by its server with status 403"),
        ((200, {"Content-Length": str(1 << 40)}, b""), "is larger than"),
        ((302, {"Location": "https://localhost:1/w.pt"}, b""), "cannot be downloaded: NewConnectionError"),
        ((503, {}, b""), "cannot be downloaded: too many 503 error responses"),
        ((200, {"Content-Length": "100"}, b"half"), "cannot be downloaded: "),
    ],
)
def test_failures_are_one_sentence(
    server: Server,
    answer: tuple[int, dict[str, str], bytes],
    sentence: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    server.answers = {"/w.pt": answer}
    with pytest.raises((UnusableWeights, StoreUnavailable), match=sentence) as caught:
        fetch(f"{server.url}/w.pt?signature=secret", tmp_path)
    assert "secret" not in str(caught.value) + caplog.text
    assert "\n" not in str(caught.value)


def test_a_body_without_end_is_cut_off(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST_DOWNLOAD", 1000)
    server.answers = {"/w.pt": (200, {"Content-Length": "1001"}, bytes(1001))}
    with pytest.raises(UnusableWeights, match="is larger than 1,000 bytes"):
        fetch(f"{server.url}/w.pt", tmp_path)


def test_a_way_without_tls_is_not_taken(server: Server, tmp_path: Path) -> None:
    other = Server()
    other.answers = {"/w.pt": (200, {}, b"tampered")}
    with ThreadingHTTPServer(("localhost", 0), _handler(other)) as plain:
        threading.Thread(target=plain.serve_forever, args=(0.01,), daemon=True).start()
        server.answers = {"/w.pt": (302, {"Location": f"http://localhost:{plain.server_port}/w.pt"}, b"")}
        with pytest.raises(UnusableWeights, match="without TLS"):
            fetch(f"{server.url}/w.pt", tmp_path)
        plain.shutdown()


def test_an_unknown_certificate_is_not_accepted(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "other.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "other.pem"))
    with pytest.raises(StoreUnavailable, match=r"TLS failed \(CERTIFICATE_VERIFY_FAILED\)"):
        fetch(f"{server.url}/w.pt", tmp_path)


def test_a_file_comes_from_a_folder(tmp_path: Path) -> None:
    save(stripped(model(source())), tmp_path / "my weights.pt")
    weights = fetch_weights(spec((tmp_path / "my weights.pt").as_uri()), None, None, tmp_path / "weights.pt")
    assert weights.names == ["mask", "incorrect", "no mask"]


@pytest.mark.parametrize(
    "weights", ["http://a/b.pt", "https://user:word@host/b.pt", "yolov5s.pt", "official2", "https://a"]
)
def test_other_addresses_are_no_weights(weights: str) -> None:
    with pytest.raises(ValueError, match="weights"):
        spec(weights)
