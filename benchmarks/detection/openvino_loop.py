"""The plain loop that a person would write around OpenVINO: decode a video, letterbox, infer, suppress; save nothing.

    python benchmarks/detection/openvino_loop.py MODEL.xml CLIP.mp4 --imgsz 640 [--asynchronous]

Synchronous: one frame after the other, by the latency hint. Asynchronous: OpenVINO's own queue with as many requests as
it finds best for throughput, while this loop decodes and letterboxes. Nothing of our package takes part.
"""

import argparse
import json
import os
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import openvino as ov
from numpy.typing import NDArray

CONFIDENCE, IOU, MOST = 0.25, 0.45, 1000
GREY = (114, 114, 114)
STRIDE = 32


class Detector:
    """A compiled model for frames of one size, and what it needs before and after."""

    def __init__(self, path: str, frame_size: tuple[int, int], image_size: int, *, asynchronous: bool) -> None:
        core = ov.Core()
        model = core.read_model(path)
        self.height, self.width, self.scale, self.padding = plan(frame_size, image_size)
        entry = model.input(0)
        self.channels_last = entry.partial_shape[3].is_static and entry.partial_shape[3].get_length() == 3
        if entry.partial_shape.is_dynamic:
            height, width = self.height, self.width
            model.reshape([1, height, width, 3] if self.channels_last else [1, 3, height, width])
        else:
            self._fit(frame_size, list(entry.shape))
        self.bytes = entry.element_type == ov.Type.u8
        hint = "THROUGHPUT" if asynchronous else "LATENCY"
        self.compiled = core.compile_model(model, "CPU", {"PERFORMANCE_HINT": hint})

    def _fit(self, frame_size: tuple[int, int], shape: list[int]) -> None:
        """To a model of a fixed input."""
        self.height, self.width = (shape[1], shape[2]) if self.channels_last else (shape[2], shape[3])
        height, width = frame_size
        self.scale = min(self.height / height, self.width / width)
        inner = round(width * self.scale), round(height * self.scale)
        left, top = (self.width - inner[0]) // 2, (self.height - inner[1]) // 2
        self.padding = (top, self.height - inner[1] - top, left, self.width - inner[0] - left)

    def input_of(self, frame: NDArray[np.uint8]) -> NDArray[Any]:
        top, bottom, left, right = self.padding
        inner = (self.width - left - right, self.height - top - bottom)
        resized = frame if inner == (frame.shape[1], frame.shape[0]) else cv2.resize(frame, inner)
        boxed = cv2.copyMakeBorder(resized, top, bottom, left, right, cv2.BORDER_CONSTANT, value=GREY)
        rgb = cv2.cvtColor(boxed, cv2.COLOR_BGR2RGB)[None]
        pixels: NDArray[Any] = rgb if self.bytes else rgb.astype(np.float32) / np.float32(255)
        return pixels if self.channels_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))

    def boxes_of(self, predictions: NDArray[Any]) -> NDArray[np.float32]:
        """(K, 6): x, y, width, height in the frame's pixels, confidence, class."""
        likely = predictions[0][predictions[0][:, 4] > CONFIDENCE]
        scores = likely[:, 5:] * likely[:, 4:5]
        label, best = scores.argmax(1), scores.max(1)
        top, _, left, _ = self.padding
        corners = likely[:, :4].copy()
        corners[:, :2] -= corners[:, 2:] / 2 + (left, top)
        corners /= self.scale
        kept = cv2.dnn.NMSBoxesBatched(corners, best, label.astype(np.int32), CONFIDENCE, IOU)
        chosen = np.asarray(kept, dtype=int)[:MOST]
        found: NDArray[np.float32] = np.column_stack([corners, best, label])[chosen].astype(np.float32)
        return found


def plan(frame_size: tuple[int, int], image_size: int) -> tuple[int, int, float, tuple[int, int, int, int]]:
    """Height and width of the input, the scale, and the padding above, below, left and right: as little as fits."""
    height, width = frame_size
    scale = min(image_size / height, image_size / width)
    inner_height, inner_width = round(height * scale), round(width * scale)
    spare_y, spare_x = (image_size - inner_height) % STRIDE, (image_size - inner_width) % STRIDE
    padding = (spare_y // 2, spare_y - spare_y // 2, spare_x // 2, spare_x - spare_x // 2)
    return inner_height + spare_y, inner_width + spare_x, scale, padding


def frames(path: str) -> Iterator[NDArray[np.uint8]]:
    film = cv2.VideoCapture(path)
    while True:
        there, frame = film.read()
        if not there:
            return
        yield np.asarray(frame, np.uint8)


def synchronous(detector: Detector, path: str) -> list[NDArray[np.float32]]:
    request = detector.compiled.create_infer_request()
    found = []
    for frame in frames(path):
        request.infer(detector.input_of(frame), share_inputs=True)
        found.append(detector.boxes_of(request.get_output_tensor(0).data))
    return found


def asynchronous(detector: Detector, path: str) -> list[NDArray[np.float32]]:
    found: dict[int, NDArray[np.float32]] = {}
    queue = ov.AsyncInferQueue(detector.compiled)

    def keep(request: ov.InferRequest, number: int) -> None:
        found[number] = detector.boxes_of(request.get_output_tensor(0).data)

    queue.set_callback(keep)
    for number, frame in enumerate(frames(path)):
        queue.start_async(detector.input_of(frame), number)
    queue.wait_all()
    return [found[number] for number in sorted(found)]


def main() -> None:
    options = _options()
    film = cv2.VideoCapture(options.clip)
    size = int(film.get(cv2.CAP_PROP_FRAME_HEIGHT)), int(film.get(cv2.CAP_PROP_FRAME_WIDTH))
    film.release()
    detector = Detector(options.model, size, options.imgsz, asynchronous=options.asynchronous)
    started = time.monotonic()
    found = (asynchronous if options.asynchronous else synchronous)(detector, options.clip)
    seconds = time.monotonic() - started
    print(json.dumps({"frames": len(found), "boxes": sum(map(len, found)), "seconds": round(seconds, 3)}), flush=True)
    # OpenVINO's threads now and then abort the program while Python takes it apart.
    os._exit(0)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="an OpenVINO .xml with decoded boxes (1, N, 5 + classes) as its output")
    parser.add_argument("clip")
    parser.add_argument("--imgsz", type=int, default=640)
    parser.add_argument("--asynchronous", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
