"""ONNX files, run by onnxruntime."""

import ast
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from masktrain_trainer.export.onnx import OnnxOptions, write_onnx
from masktrain_trainer.predict.predictor import load_yolo
from masktrain_trainer.predict.suppression import non_max_suppression
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .conftest import IMAGE_SIZE, NAMES


def open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def run(session: onnxruntime.InferenceSession, images_BCHW: Tensor) -> Tensor:
    (output,) = session.run(["output0"], {"images": images_BCHW.numpy()})
    assert isinstance(output, np.ndarray)
    return torch.from_numpy(output)


@torch.inference_mode()
def predict(file: DetectorWeights, images_BCHW: Tensor) -> Tensor:
    model = load_yolo(file).eval()
    return model.decode(model(images_BCHW))


def pictures(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def session(detector: DetectorWeights, tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    path = tmp_path_factory.mktemp("onnx") / "best.onnx"
    assert write_onnx(detector, path, OnnxOptions()) == IMAGE_SIZE
    return open_session(path)


def test_onnxruntime_predicts_the_same_and_finds_equal_boxes(
    session: onnxruntime.InferenceSession, detector: DetectorWeights
) -> None:
    images_BCHW = pictures(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    ours, theirs = predict(detector, images_BCHW), run(session, images_BCHW)
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4)
    (our_boxes,), (their_boxes,) = non_max_suppression(ours), non_max_suppression(theirs)
    assert 0 < len(our_boxes) == len(their_boxes) < ours.shape[1]
    # Boxes whose confidences are equal to the last bits may change places, so each is compared with its nearest one.
    distances = torch.cdist(our_boxes.double(), their_boxes.double())
    assert sorted(distances.argmin(dim=1).tolist()) == list(range(len(their_boxes)))
    assert distances.amin(dim=1).max() < 1e-3


def test_names_shapes_and_metadata_are_those_of_yolov5s_export(session: onnxruntime.InferenceSession) -> None:
    (images,), (output,) = session.get_inputs(), session.get_outputs()
    assert (images.name, images.shape, images.type) == ("images", [1, 3, IMAGE_SIZE, IMAGE_SIZE], "tensor(float)")
    assert (output.name, output.shape) == ("output0", [1, 3 * (64 + 16 + 4), 5 + len(NAMES)])
    metadata = session.get_modelmeta().custom_metadata_map
    assert metadata["stride"] == "32"
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(NAMES))


def test_a_dynamic_file_takes_images_of_any_number_and_fitting_size(detector: DetectorWeights, tmp_path: Path) -> None:
    write_onnx(detector, tmp_path / "any.onnx", OnnxOptions(dynamic=True))
    session = open_session(tmp_path / "any.onnx")
    for shape in [(1, 3, 64, 64), (3, 3, 32, 96)]:
        images_BCHW = pictures(*shape)
        torch.testing.assert_close(run(session, images_BCHW), predict(detector, images_BCHW), rtol=1e-4, atol=1e-4)


def test_half_precision_keeps_boxes_within_a_pixel(detector: DetectorWeights, tmp_path: Path) -> None:
    write_onnx(detector, tmp_path / "half.onnx", OnnxOptions(half=True))
    session = open_session(tmp_path / "half.onnx")
    assert session.get_inputs()[0].type == "tensor(float16)"
    images_BCHW = pictures(1, 3, IMAGE_SIZE, IMAGE_SIZE)
    found = run(session, images_BCHW.half())
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, predict(detector, images_BCHW), rtol=0.02, atol=1)
