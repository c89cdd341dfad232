"""The one predictor: what `detect` draws is what validation measures."""

from pathlib import Path

import numpy as np
import pytest
import torch

from masktrain_trainer.config import Architecture
from masktrain_trainer.data.loader import val_batches
from masktrain_trainer.data.source.pictures import decode_picture
from masktrain_trainer.detect.detector import MAX_DETECTIONS, DetectionOptions, Detector
from masktrain_trainer.model.blocks import Detect
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.predict.models import torch_model
from masktrain_trainer.predict.predictor import VALIDATION, Thresholds, load_predictor
from masktrain_trainer.weights.yolov5 import DetectorWeights
from tests.unit.trainer.data.exports import prepared_pictures

SIZE = 64
CPU = torch.device("cpu")
SHAPES = [(64, 64), (48, 64), (64, 40)]
"""No scaling, even paddings, and padded to a square by both: the pixels that the network sees are the same."""


@pytest.fixture(scope="module")
def file() -> DetectorWeights:
    """An untrained model that sees objects of both classes everywhere."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = build_yolo(Architecture.YOLOV5N, 2)
    head = model.model[-1]
    assert isinstance(head, Detect)
    with torch.no_grad():
        for convolution in head.m:
            assert isinstance(convolution.bias, torch.Tensor)
            convolution.bias.view(3, -1)[:, 4:] = 1.0
    return DetectorWeights(Architecture.YOLOV5N, ["cat", "dog"], SIZE, model.state_dict())


def test_detect_finds_the_boxes_of_validation(file: DetectorWeights, tmp_path: Path) -> None:
    prepared = prepared_pictures(tmp_path, SHAPES, SIZE)
    options = DetectionOptions(confidence=0.3, iou=0.45)
    validating = load_predictor(file, Thresholds(options.confidence, options.iou, MAX_DETECTIONS), CPU)
    detector = Detector(torch_model(file, "w.pt", CPU), options)
    seen = 0
    for batch in val_batches(prepared, prepared.val, image_size=SIZE, batch_size=2, rectangular=False):
        measured = validating.detections(validating.infer(batch.images_BCHW), batch.placements)
        for index, expected_K6 in zip(batch.indices_B.tolist(), measured, strict=True):
            original = decode_picture(prepared.val.images[index].path.read_bytes())
            assert isinstance(original, np.ndarray)
            (drawn,) = detector([original])
            found_K6 = torch.tensor([(*found.xyxy, found.confidence, found.class_index) for found in drawn])
            assert len(drawn) > 0
            torch.testing.assert_close(found_K6, expected_K6, atol=1e-4, rtol=1e-5)
            seen += 1
    assert seen == len(SHAPES)


def test_validation_takes_all_classes_of_a_box_and_the_tail_of_confidences(file: DetectorWeights) -> None:
    predictor = load_predictor(file, VALIDATION, CPU)
    inference = predictor.infer(torch.full((1, 3, SIZE, SIZE), 90, dtype=torch.uint8))
    assert [raw.shape[2] for raw in inference.raws] == [8, 4, 2]
    assert inference.decoded_BNP.dtype == torch.float32
    assert Thresholds(confidence=0.001, iou=0.6, max_detections=300, multi_label=True) == VALIDATION
