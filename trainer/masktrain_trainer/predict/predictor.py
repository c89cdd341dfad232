"""The one way from images to detections: network, decoding, non-maximum suppression, boxes in the original image.

Validation during a training, `masktrain val` and `masktrain detect` predict with it. They differ in their thresholds,
in where their batches come from, and in what else they want of a batch (its loss, its timing): hence two steps, `infer`
and `detections`.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from masktrain_trainer.config import DEVICE_VARIABLE
from masktrain_trainer.data.geometry import Placement, scale_boxes
from masktrain_trainer.model.precision import autocast, to_input, with_layout
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .suppression import non_max_suppression


@dataclass(frozen=True)
class Thresholds:
    """`multi_label`: a box counts for each class above the confidence, not for its best one only.

    `agnostic`: boxes suppress those of other classes, too. `classes`: the only ones that are wanted.
    """

    confidence: float
    iou: float
    max_detections: int
    multi_label: bool = False
    agnostic: bool = False
    classes: Sequence[int] | None = None


VALIDATION = Thresholds(confidence=0.001, iou=0.6, max_detections=300, multi_label=True)
"""YOLOv5's for mAP: the tail of the precision-recall curve lies at confidences that nobody would draw."""


class Inference(NamedTuple):
    """What the network says of a batch: `decoded_BNP` as `Yolo.decode` returns it, in float32.

    `raws` for the loss; empty where something else than torch has computed.
    """

    raws: list[Tensor]
    decoded_BNP: Tensor


Pending = Callable[[], Inference]
"""Waits for a batch that was started and returns it."""


class Network(Protocol):
    """A detector with its weights, on whatever runs it."""

    @property
    def device(self) -> torch.device:
        """Where it computes."""

    @property
    def in_flight(self) -> int:
        """So many batches are worth having started before the first one is waited for."""

    def start(self, images_BCHW: Tensor) -> Pending:
        """Begin with a batch of letterboxed images: uint8, red green blue, on any device."""


class TorchNetwork:
    """model: a fused copy (`Yolo.fuse`), which is changed; channels last for speed. number_format: what its
    convolutions compute in.
    """

    in_flight = 1

    def __init__(self, model: Yolo, number_format: torch.dtype = torch.float32) -> None:
        model.activate_in_place()
        self._model = model
        self._format = number_format
        self._weights = next(model.parameters())

    @property
    def device(self) -> torch.device:
        return self._weights.device

    def start(self, images_BCHW: Tensor) -> Pending:
        """Computes at once."""
        inference = self._infer(images_BCHW)
        return lambda: inference

    @torch.inference_mode()
    def _infer(self, images_BCHW: Tensor) -> Inference:
        with autocast(self.device, self._format):
            raws = self._model(to_input(images_BCHW, self._weights))
        return Inference(raws, self._model.decode(raws).float())


class Predictor:
    """A network with its thresholds, which may be replaced between two batches."""

    def __init__(self, network: Network, thresholds: Thresholds) -> None:
        self.network = network
        self.thresholds = thresholds

    @property
    def device(self) -> torch.device:
        return self.network.device

    def infer(self, images_BCHW: Tensor) -> Inference:
        """Run the network on letterboxed images: uint8, red green blue, on any device."""
        return self.network.start(images_BCHW)()

    @torch.inference_mode()
    def detections(self, inference: Inference, placements: Sequence[Placement]) -> list[Tensor]:
        """Detections (K, 6) of each image, on the CPU: xyxy in pixels of the original, confidence, class.

        By falling confidence. `placements`: how each original image was letterboxed.
        """
        limits = self.thresholds
        found = non_max_suppression(
            inference.decoded_BNP,
            limits.confidence,
            limits.iou,
            multi_label=limits.multi_label,
            agnostic=limits.agnostic,
            classes=limits.classes,
            max_detections=limits.max_detections,
        )
        # All at once: each copy waits for the device.
        of_images = torch.split(torch.cat(found).cpu(), [len(found_K6) for found_K6 in found])
        return [_in_original(found_K6, place) for found_K6, place in zip(of_images, placements, strict=True)]


def _in_original(found_K6: Tensor, placement: Placement) -> Tensor:
    # In float64 and back, as boxes were always scaled: float32 would change the last digit, and a match on the edge.
    boxes_K4 = torch.from_numpy(scale_boxes(found_K6[:, :4].numpy(), placement))
    return torch.cat((boxes_K4.to(found_K6.dtype), found_K6[:, 4:]), dim=1)


def choose_device() -> torch.device:
    """A GPU if there is one, unless MASKTRAIN_DEVICE asks for the CPU."""
    wanted = os.environ.get(DEVICE_VARIABLE, "auto")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def load_predictor(
    file: DetectorWeights, thresholds: Thresholds, device: torch.device, number_format: torch.dtype = torch.float32
) -> Predictor:
    """A predictor of a weights file: batch norms folded, on `device`."""
    model = with_layout(load_yolo(file).fuse().to(device), torch.channels_last)
    return Predictor(TorchNetwork(model, number_format), thresholds)


def load_yolo(file: DetectorWeights) -> Yolo:
    """The float32 model of a file, on the CPU."""
    model = build_yolo(file.architecture, len(file.names))
    model.load_state_dict({name: _as_float32(tensor) for name, tensor in file.state_dict.items()})
    return model


def round_up(size: int, multiple: int) -> int:
    """The next size that a model of that stride takes."""
    return -(-size // multiple) * multiple


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
