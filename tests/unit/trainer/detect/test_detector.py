"""The detector: shapes, batches, names, and the picture at three sizes."""

import numpy as np
import pytest
import torch
from torch import Tensor

from masktrain_trainer.config import Architecture
from masktrain_trainer.detect.augmented import AugmentedNetwork
from masktrain_trainer.detect.detector import DetectionOptions, Detector
from masktrain_trainer.detect.devices import Numbers, number_format, parse_device
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.model.yolo import build_yolo
from masktrain_trainer.predict.models import Model, torch_model
from masktrain_trainer.predict.predictor import Inference, Pending
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .models import NAMES, Bright, bright_detector, picture


@pytest.mark.parametrize("size", [(30, 50), (64, 64), (100, 20)])
def test_a_model_of_one_shape_gets_exactly_that(size: tuple[int, int]) -> None:
    detector = bright_detector(fixed_shape=(64, 96))
    assert detector.prepare(picture(size=size, spot=(3, 4))).shape == (64, 96)
    ((found,),) = detector([picture(size=size, spot=(3, 4))])
    x1, y1, x2, y2 = found.xyxy
    assert 0 <= x1 < 5 < x2 <= size[1]
    assert 0 <= y1 < 5 < y2 <= size[0]


def test_another_size_than_the_one_that_a_model_takes_is_refused() -> None:
    model = Model("best.onnx", NAMES, 64, 32, Bright(), (64, 96))
    with pytest.raises(InvalidConfiguration, match=r"best\.onnx takes pictures of 96 x 64 pixels alone"):
        Detector(model, DetectionOptions(image_size=64))
    assert Detector(model, DetectionOptions(image_size=(64, 96)))
    with pytest.raises(InvalidConfiguration, match="--augment"):
        Detector(model, DetectionOptions(augment=True))


def test_height_and_width_may_be_given() -> None:
    model = Model("best.pt", NAMES, 64, 32, Bright())
    detector = Detector(model, DetectionOptions(image_size=(90, 64)))
    assert detector.prepare(picture(size=(300, 100))).shape == (96, 32)


def test_names_of_another_yaml_are_found() -> None:
    detector = Detector(Model("best.pt", NAMES, 64, 32, Bright()), DetectionOptions(), ["Maske", "keine"])
    ((found,),) = detector([picture()])
    assert found.name == "Maske"


def test_few_batches_of_one_are_enough_where_several_run_at_a_time() -> None:
    assert bright_detector(Bright(in_flight=4)).batch_size == 1
    assert bright_detector().batch_size > 1


class _Raw:
    """Sees one object where the brightest pixel is, in each of three levels of two, two and four candidates."""

    device = torch.device("cpu")
    in_flight = 1

    def __init__(self) -> None:
        self.shapes: list[tuple[int, ...]] = []

    def start(self, images_BCHW: Tensor) -> Pending:
        self.shapes.append(tuple(images_BCHW.shape[2:]))
        grey_HW = images_BCHW[0].float().sum(0)
        y, x = divmod(int(grey_HW.argmax()), grey_HW.shape[1])
        sizes = [8.0, 8.0, 16.0, 16.0, 32.0, 32.0, 32.0, 32.0]
        rows = torch.tensor([[x + 0.5, y + 0.5, size, size, 0.9, 0.9, 0.1] for size in sizes])
        raws = [torch.zeros(1, 1, 1, count, 7) for count in (2, 2, 4)]
        return lambda: Inference(raws, rows[None])


def test_what_is_seen_at_three_sizes_lies_where_it_is() -> None:
    """The largest view gives no rows of the coarsest level, the smallest none of the finest."""
    network = _Raw()
    images = torch.zeros(1, 3, 64, 96, dtype=torch.uint8)
    images[:, :, 20:24, 70:74] = 255
    inference = AugmentedNetwork(network, 32).start(images)()
    assert network.shapes == [(64, 96), (64, 96), (64, 96)]
    rows = inference.decoded_BNP[0]
    assert len(rows) == (8 - 4) + 8 + (8 - 2)
    torch.testing.assert_close(rows[:, 0], torch.full((18,), 72.0), atol=3.0, rtol=0)
    torch.testing.assert_close(rows[:, 1], torch.full((18,), 22.0), atol=3.0, rtol=0)
    sizes = [8, 8, 16, 16, *(side / 0.83 for side in (8, 8, 16, 16, 32, 32, 32, 32))]
    sizes += [side / 0.67 for side in (16, 16, 32, 32, 32, 32)]
    torch.testing.assert_close(rows[:, 2], torch.tensor(sizes), atol=1e-3, rtol=0)


def test_only_torch_looks_at_several_sizes() -> None:
    with pytest.raises(InvalidConfiguration, match=r"--augment needs a model of torch \(\.pt\)"):
        AugmentedNetwork(Bright(), 32).start(torch.zeros(1, 3, 64, 64, dtype=torch.uint8))


def test_a_real_model_is_augmented() -> None:
    torch.manual_seed(0)
    weights = DetectorWeights(Architecture.YOLOV5N, NAMES, 64, build_yolo(Architecture.YOLOV5N, 2).state_dict())
    model = torch_model(weights, "w.pt", torch.device("cpu"))
    pictures = [np.full((64, 64, 3), 90, np.uint8)]
    (once,) = Detector(model, DetectionOptions(confidence=1e-6, iou=1))(pictures)
    (thrice,) = Detector(model, DetectionOptions(confidence=1e-6, iou=1, augment=True))(pictures)
    assert len(thrice) > len(once) > 0


@pytest.mark.parametrize("text", ["cpu", " CPU "])
def test_devices_are_named_as_in_yolov5(text: str) -> None:
    assert parse_device(text) == torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0,1", "names several devices"),
        ("tpu", "is none that is known"),
        ("cuda:99", "is not there"),
        ("99", "is not there"),
    ],
)
def test_a_device_that_cannot_be_is_one_sentence(text: str, sentence: str) -> None:
    with pytest.raises(InvalidConfiguration, match=f"--device {text} {sentence}"):
        parse_device(text)


def test_numbers_of_32_bits_can_be_asked_for() -> None:
    cpu = torch.device("cpu")
    assert number_format(Numbers.FLOAT32, cpu) is torch.float32
    assert number_format(Numbers.HALF, cpu) is number_format(Numbers.AUTO, cpu)
