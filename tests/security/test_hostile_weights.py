"""Files of weights that ask for more than they hold, and servers of weights that lead elsewhere."""

import gzip
import logging
import socket
import threading
import traceback
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from masktrain_trainer.config import Architecture
from masktrain_trainer.errors import InvalidWeights, StoreError, UnusableWeights
from masktrain_trainer.weights import yolov5
from masktrain_trainer.weights.load import MODEL_FORMAT, load_weights, read_weights
from masktrain_trainer.weights.pickle_machine import Global, StandIn
from masktrain_trainer.weights.torch_file import read_torch_file
from masktrain_trainer.weights.yolov5 import read_yolov5
from tests.unit.trainer.weights.test_sources import Server, fetch, server
from tests.unit.trainer.weights.yolov5_files import model, save, source, stripped

__all__ = ["server"]


def zipped(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", content)
    return path


def module(state: dict[str, object], kind: str = "Layer") -> StandIn:
    return StandIn(Global("models.yolo", kind), (), state)


def test_one_module_that_is_contained_many_times_does_not_multiply_its_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yolov5, "MOST_TENSORS", 100_000, raising=False)
    tensor = torch.zeros(1)
    wide = module({"_parameters": {f"w{number}": tensor for number in range(1_000)}})
    root = module({"_modules": {f"m{number}": wide for number in range(1_000)}}, "DetectionModel")
    with pytest.raises(UnusableWeights, match="more tensors"):
        read_yolov5({"model": root})


@pytest.mark.parametrize("unsaved", [5, "_anchors", [5], {"a": 1}, None], ids=repr)
def test_an_attribute_of_another_type_than_yolov5s_is_no_traceback(unsaved: object) -> None:
    layer = module({"_parameters": {"w": torch.zeros(1)}, "_non_persistent_buffers_set": unsaved}, "DetectionModel")
    with pytest.raises(UnusableWeights):
        read_yolov5({"model": layer})


def test_strides_without_end_are_not_taken(tmp_path: Path) -> None:
    root = model(source())
    root.stride = torch.zeros(100_000, dtype=torch.int8)
    with pytest.raises(UnusableWeights, match="strides"):
        read_yolov5(read_torch_file(save(stripped(root), tmp_path / "strides.pt")))


def test_a_long_name_that_is_looked_up_again_and_again_is_refused_at_once(tmp_path: Path) -> None:
    name = b"models." + b"a" * (1 << 20)
    long = b"\x80\x04X" + len(name).to_bytes(4, "little") + name + b"\x94" + b"0"
    content = long + b"h\x00X\x01\x00\x00\x00a\x930" * 10_000 + b"N."
    with pytest.raises(UnusableWeights, match="no plain name"):
        read_torch_file(zipped(tmp_path / "names.pt", content))


def own_model(tmp_path: Path) -> Path:
    found = source()
    document = {
        "format": MODEL_FORMAT,
        "architecture": Architecture.YOLOV5N.value,
        "names": ["a", "b", "c"],
        "image_size": 640,
        "epoch": 1,
        "step": 2,
        "fitness": None,
        "metrics": {},
        "training": {},
        "state_dict": {name: tensor.half() for name, tensor in found.state_dict().items()},
    }
    torch.save(document, tmp_path / "best.pt")
    return tmp_path / "best.pt"


def test_torch_reads_no_file_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zip may show Python one directory and torch's own reader another one, whose members nobody has checked."""
    path = own_model(tmp_path)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch read it"))
    assert read_weights(path).names == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("state_dict", None),
        ("state_dict", {5: 5}),
        ("state_dict", {"w": 1}),
        ("image_size", -1),
        ("metrics", 5),
        ("names", [{}]),
    ],
)
def test_a_best_pt_with_a_field_of_another_type_is_one_sentence(tmp_path: Path, field: str, value: object) -> None:
    document = torch.load(own_model(tmp_path), weights_only=True)
    torch.save(document | {field: value}, tmp_path / "best.pt")
    with pytest.raises(UnusableWeights):
        read_weights(tmp_path / "best.pt")


@pytest.fixture
def plain() -> Iterator[tuple[str, list[bytes]]]:
    """A service without TLS, such as the metadata of a node: its address, and what was asked of it."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    asked.append(connection.recv(1 << 16))
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
        listening.shutdown(socket.SHUT_RDWR)


def test_no_redirect_makes_a_pod_ask_a_service_without_tls(
    server: Server, plain: tuple[str, list[bytes]], tmp_path: Path
) -> None:
    address, asked = plain
    server.answers = {"/w.pt": (302, {"Location": f"{address}/opc/v1/instance"}, b"")}
    with pytest.raises(UnusableWeights, match="an address without TLS, which is not followed"):
        fetch(f"{server.url}/w.pt", tmp_path)
    assert asked == []


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://localhost/a", "gopher://localhost", "//[::1", "\x00"]
)
def test_a_redirect_to_anything_else_is_one_sentence(server: Server, tmp_path: Path, location: str) -> None:
    server.answers = {"/w.pt": (302, {"Location": location}, b"")}
    with pytest.raises((UnusableWeights, StoreError)):
        fetch(f"{server.url}/w.pt", tmp_path)


def test_the_key_in_a_redirect_is_in_no_log_and_no_traceback(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.answers = {"/w.pt": (302, {"Location": f"{server.url}/stored?X-Amz-Signature=hunter2"}, b"")}
    caplog.set_level(logging.INFO)
    with pytest.raises(UnusableWeights) as caught:
        fetch(f"{server.url}/w.pt", tmp_path)
    server.answers = {"/w.pt": (302, {"Location": "https://localhost:1/x?X-Amz-Signature=hunter2"}, b"")}
    with pytest.raises(StoreError) as unreachable:
        fetch(f"{server.url}/w.pt", tmp_path)
    shown = [*traceback.format_exception(caught.value), *traceback.format_exception(unreachable.value), caplog.text]
    assert "hunter2" not in "".join(shown)


@pytest.mark.parametrize("length", ["abc", "9" * 5000])
def test_a_length_that_is_no_number_is_passed_over(server: Server, tmp_path: Path, length: str) -> None:
    server.answers = {"/w.pt": (200, {"Content-Length": length, "Connection": "close"}, b"0123")}
    assert fetch(f"{server.url}/w.pt", tmp_path) == b"0123"


def test_what_comes_compressed_is_not_unpacked(server: Server, tmp_path: Path) -> None:
    packed = gzip.compress(bytes(50_000_000))
    server.answers = {"/w.pt": (200, {"Content-Encoding": "gzip"}, packed)}
    assert fetch(f"{server.url}/w.pt", tmp_path) == packed


@pytest.mark.parametrize(
    "change", [{"architecture": "yolov5s"}, {"names": ["a"]}, {"state_dict": {"w": torch.zeros(1)}}]
)
def test_a_best_pt_whose_parts_do_not_fit_is_one_sentence(tmp_path: Path, change: dict[str, object]) -> None:
    path = own_model(tmp_path)
    assert load_weights(str(path), None).architecture is Architecture.YOLOV5N
    torch.save(torch.load(path, weights_only=True) | change, path)
    with pytest.raises(InvalidWeights, match="its tensors are not those of a yolov5"):
        load_weights(str(path), None)
