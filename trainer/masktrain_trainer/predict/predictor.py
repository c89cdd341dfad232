"""From pixels to detections: letterbox, model, decoding, non-maximum suppression, and boxes in the original image."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from masktrain_trainer.data.geometry import letterbox, plan_letterbox, scale_boxes
from masktrain_trainer.model.nms import non_max_suppression
from masktrain_trainer.model.yolo import Yolo, build_yolo
from masktrain_trainer.weights.detector import DetectorWeights

MAX_DETECTIONS = 1000


@dataclass(frozen=True)
class DetectionOptions:
    """YOLOv5's thresholds for detecting; `image_size` None means as trained, in pixels of the longer side."""

    confidence: float = 0.25
    iou: float = 0.45
    image_size: int | None = None


@dataclass(frozen=True)
class Detection:
    """`xyxy` in pixels of the picture as it was given."""

    class_index: int
    name: str
    confidence: float
    xyxy: tuple[float, float, float, float]


class Detector:
    """A model ready to detect: batch norms folded, evaluation mode, on the given device."""

    def __init__(self, file: DetectorWeights, options: DetectionOptions, device: torch.device | None = None) -> None:
        self._names = file.names
        self._options = options
        self._device = device or torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._model = load_yolo(file).fuse().to(self._device)
        self._stride = max(self._model.strides)
        self._image_size = round_up(options.image_size or file.image_size, self._stride)

    @torch.inference_mode()
    def __call__(self, image_HWC: NDArray[np.uint8]) -> list[Detection]:
        """Objects in an RGB picture, by falling confidence. Only as much is padded as the model's stride asks for."""
        original = (image_HWC.shape[0], image_HWC.shape[1])
        plan = plan_letterbox(original, (self._image_size, self._image_size), stride=self._stride)
        pixels_HWC = letterbox(image_HWC, plan)
        image_BCHW = torch.from_numpy(pixels_HWC).to(self._device).permute(2, 0, 1)[None].float() / 255
        prediction_BNP = self._model.decode(self._model(image_BCHW))
        found_K6 = non_max_suppression(
            prediction_BNP, self._options.confidence, self._options.iou, max_detections=MAX_DETECTIONS
        )[0]
        found = found_K6.cpu().double().numpy()
        boxes_K4 = scale_boxes(found[:, :4], plan.output, original, (plan.ratio, plan.left, plan.top))
        return [self._detection(box_4, row) for box_4, row in zip(boxes_K4, found, strict=True)]

    def _detection(self, box_4: NDArray[np.float64], row_6: NDArray[np.float64]) -> Detection:
        index = int(row_6[5])
        x1, y1, x2, y2 = (float(value) for value in box_4)
        return Detection(index, self._names[index], float(row_6[4]), (x1, y1, x2, y2))


def load_yolo(file: DetectorWeights) -> Yolo:
    """The float32 model of a file, on the CPU."""
    model = build_yolo(file.architecture, len(file.names))
    model.load_state_dict({name: _as_float32(tensor) for name, tensor in file.state_dict.items()})
    return model


def round_up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple


def _as_float32(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor
