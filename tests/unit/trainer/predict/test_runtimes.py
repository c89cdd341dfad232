"""Exported models run as the .pt they were made from; what is none of them is one sentence."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
import yaml
from torch import Tensor

from masktrain_trainer.errors import InvalidWeights
from masktrain_trainer.export.onnx import OnnxOptions, write_onnx
from masktrain_trainer.export.openvino import OpenVinoOptions, write_openvino
from masktrain_trainer.predict.exported import import_openvino
from masktrain_trainer.predict.models import load_model
from masktrain_trainer.weights.load import read_weights
from tests.unit.trainer.export.conftest import IMAGE_SIZE, NAMES, write_best
from tests.unit.trainer.stores.web_server import Page, serving_site

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """best.pt, best_openvino_model/, fixed.onnx, dynamic.onnx and half.onnx of one model."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("models")
    file = read_weights(write_best(folder / "best.pt"))
    write_openvino(file, folder / "best_openvino_model", OpenVinoOptions())
    write_onnx(file, folder / "fixed.onnx", OnnxOptions())
    write_onnx(file, folder / "dynamic.onnx", OnnxOptions(dynamic=True))
    write_onnx(file, folder / "half.onnx", OnnxOptions(half=True))
    return folder


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    drawn = np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def boxes(model: str | Path, images_BCHW: Tensor) -> Tensor:
    return load_model(str(model), device=CPU).network.start(images_BCHW)().decoded_BNP


@pytest.mark.parametrize(
    ("name", "shape", "tolerance"),
    [
        ("best_openvino_model", (3, 64, 64), 0.05),
        ("best_openvino_model", (1, 32, 96), 0.05),
        ("best_openvino_model/best.xml", (1, 96, 64), 0.05),
        ("dynamic.onnx", (2, 64, 96), 1e-3),
        ("fixed.onnx", (3, 64, 64), 1e-3),
        ("half.onnx", (2, 64, 64), 1),
    ],
)
def test_boxes_are_those_of_the_pt(folder: Path, name: str, shape: tuple[int, int, int], tolerance: float) -> None:
    images_BCHW = pictures(*shape)
    found = boxes(folder / name, images_BCHW)
    torch.testing.assert_close(found, boxes(folder / "best.pt", images_BCHW), rtol=0.01, atol=tolerance)


def test_a_model_says_what_it_is(folder: Path) -> None:
    found = load_model(str(folder / "best_openvino_model"))
    assert (found.title, found.names, found.stride) == ("best (OpenVINO FP16)", NAMES, 32)
    assert (found.image_size, found.fixed_shape) == (IMAGE_SIZE, None)
    fixed = load_model(str(folder / "fixed.onnx"))
    assert (fixed.title, fixed.names, fixed.fixed_shape) == ("fixed.onnx (OpenVINO FP32)", NAMES, (64, 64))
    with pytest.raises(ValueError, match="takes"):
        fixed.network.start(pictures(1, 32, 64))
    assert load_model((folder / "fixed.onnx").as_uri()).title == "fixed.onnx (OpenVINO FP32)"
    assert load_model((folder / "best_openvino_model/best.xml").as_uri()).names == NAMES


def test_models_come_by_https_and_the_bin_beside_the_xml(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving_site(tmp_path, monkeypatch) as site:
        for name in ("best.pt", "fixed.onnx", "best_openvino_model/best.xml", "best_openvino_model/best.bin"):
            site.pages[f"/{name}"] = Page(body=(folder / name).read_bytes())
        for name in ("best.pt", "fixed.onnx", "best_openvino_model/best.xml"):
            assert load_model(f"{site.url}/{name}", device=CPU).names == NAMES
        del site.pages["/best_openvino_model/best.bin"]
        for name in ("none.onnx", "best_openvino_model/best.xml"):
            with pytest.raises(InvalidWeights, match="does not exist on its server; correct the address"):
                load_model(f"{site.url}/{name}")


def test_batches_on_their_way_keep_their_results_in_any_order(folder: Path) -> None:
    network = load_model(str(folder / "best_openvino_model")).network
    batches = [pictures(1 + number % 3, 64, 64, seed=number) for number in range(9)]
    alone = [network.start(batch)().decoded_BNP for batch in batches]
    pending = [network.start(batch) for batch in batches]
    together = [wait().decoded_BNP for wait in reversed(pending)][::-1]
    for one, other, wait in zip(alone, together, pending, strict=True):
        assert torch.equal(one, other)
        assert wait().decoded_BNP is not None
    assert network.in_flight >= 1
    assert load_model(str(folder / "best_openvino_model"), latency=True).network.in_flight == 1


def test_nothing_of_a_batch_is_copied_that_lies_channels_last(folder: Path) -> None:
    images_BCHW = pictures(2, 64, 64)
    started = load_model(str(folder / "best_openvino_model")).network.start(images_BCHW)
    held = vars(started)["_images_BHWC"]
    started()
    assert held.ctypes.data == images_BCHW.data_ptr()


def without_metadata(folder: Path, copy: Path) -> None:
    openvino = import_openvino()
    document = openvino.Core().read_model(str(folder / "best_openvino_model/best.xml"))
    openvino.save_model(openvino.Model([document.outputs[0]], document.get_parameters(), "m"), str(copy / "m.xml"))


def test_yolov5s_folder_is_read_with_its_yaml_and_without(folder: Path, tmp_path: Path) -> None:
    without_metadata(folder, tmp_path)
    assert load_model(str(tmp_path)).names == ["class0", "class1", "class2"]
    for name in ("m.yaml", "metadata.yaml"):
        (tmp_path / name).write_text(yaml.safe_dump({"stride": 32, "names": {0: "a", 1: "b", 2: name}}))
        assert load_model(str(tmp_path / "m.xml")).names == ["a", "b", name]
        (tmp_path / name).unlink()


def onnx_of(path: Path, outputs: list[tuple[int, ...]], said: dict[str, str] | None = None) -> Path:
    """A model without sense that gives nothing but zeros of these shapes."""
    helper = onnx.helper
    nodes = [helper.make_node("GlobalAveragePool", ["images"], ["pooled"])]
    nodes.append(helper.make_node("ReduceSum", ["pooled"], ["sum"], keepdims=0))
    values = []
    for index, shape in enumerate(outputs):
        zeros = onnx.numpy_helper.from_array(np.zeros(shape, np.float32), f"zeros{index}")
        nodes.append(helper.make_node("Constant", [], [f"z{index}"], value=zeros))
        nodes.append(helper.make_node("Add", [f"z{index}", "sum"], [f"output{index}"]))
        values.append(helper.make_tensor_value_info(f"output{index}", onnx.TensorProto.FLOAT, shape))
    images = helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, (1, 3, 64, 64))
    document = helper.make_model(
        helper.make_graph(nodes, "g", [images], values), opset_imports=[helper.make_opsetid("", 13)], ir_version=8
    )
    helper.set_model_props(document, said or {})
    onnx.save(document, str(path))
    return path


def test_the_raw_outputs_beside_yolov5s_boxes_are_left_out(tmp_path: Path) -> None:
    raw = [(1, 3, 8, 8, 7), (1, 3, 4, 4, 7), (1, 3, 2, 2, 7)]
    path = onnx_of(tmp_path / "a.onnx", [(1, 252, 7), *raw], {"stride": "32", "names": "{0: 'cat', 1: 'dog'}"})
    assert load_model(str(path)).names == ["cat", "dog"]
    assert boxes(path, pictures(3, 64, 64)).shape == (3, 252, 7)


@pytest.mark.parametrize(
    ("outputs", "said", "sentence"),
    [
        ([(1, 1000)], {}, "gives no boxes as YOLOv5's detectors do"),
        ([(1, 84, 84)], {}, "is of YOLOv8's kind, without objectness"),
        ([(1, 252, 39), (1, 32, 16, 16)], {}, "is a segmentation model"),
        ([(1, 100, 6)], {}, "gives 100 x 6 numbers for 64 x 64 px, as no YOLOv5 does"),
        ([(1, 252, 7)], {"names": "{0: 'a'}"}, "names 1 classes, but its model has 2"),
        ([(1, 252, 7)], {"names": "__import__('os').abort()"}, "says of its names what is no plain value"),
        ([(1, 252, 7)], {"names": "[" * 100_000}, "says of its names what is no plain value"),
    ],
)
def test_another_model_is_one_sentence(
    tmp_path: Path, outputs: list[tuple[int, ...]], said: dict[str, str], sentence: str
) -> None:
    refused(onnx_of(tmp_path / "other.onnx", outputs, said), sentence)


def cut_bin(folder: Path) -> Path:
    weights = folder / "m.bin"
    weights.write_bytes(weights.read_bytes()[:5000])
    return folder


def no_bin(folder: Path) -> Path:
    (folder / "m.bin").unlink()
    return folder / "m.xml"


def no_yaml(folder: Path) -> Path:
    (folder / "m.yaml").write_text("- 1\n")
    return folder


def two_models(folder: Path) -> Path:
    (folder / "n.xml").touch()
    return folder


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut_bin, "or it is damaged"),
        (no_bin, "lacks m.bin beside it"),
        (no_yaml, "has m.yaml beside it, which is not the YAML of an export"),
        (two_models, "is a folder with 2 models"),
    ],
)
def test_damaged_files_of_openvino_are_one_sentence(
    folder: Path, tmp_path: Path, damage: Callable[[Path], Path], sentence: str
) -> None:
    without_metadata(folder, tmp_path)
    refused(damage(tmp_path), sentence)


@pytest.mark.parametrize("name", ["a.onnx", "a.xml"])
@pytest.mark.parametrize("body", [b"", b"\x80\x04 no model", b"<?xml version='1.0'?><net/>"])
def test_what_is_no_model_is_one_sentence(tmp_path: Path, name: str, body: bytes) -> None:
    (tmp_path / name).write_bytes(body)
    (tmp_path / "a.bin").touch()
    refused(tmp_path / name, "model that OpenVINO reads, or it is damaged")


def test_a_missing_file_is_one_sentence(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "none.onnx do not exist.")


def refused(path: Path, sentence: str) -> None:
    with pytest.raises(InvalidWeights) as caught:
        load_model(str(path))
    assert sentence in str(caught.value)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


SILENT = """
import socket, sys
def refuse(*_): raise SystemExit("asked the network")
socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse
from masktrain_trainer.predict.models import load_model
load_model(sys.argv[1])
import nncf
assert not any(name.startswith("openvino_telemetry.") for name in sys.modules)
"""


def test_nobody_is_told_that_openvino_is_used(folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", SILENT, str(folder / "best_openvino_model")]
    environment = {"HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert list(tmp_path.rglob("*")) == []
