"""Models that need no training: what they see is known, or at least always the same."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor

from masktrain_trainer.data.geometry import Image, Size
from masktrain_trainer.detect.detector import DetectionOptions, Detector
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium, Skipped
from masktrain_trainer.predict.models import Model
from masktrain_trainer.predict.predictor import Inference, Pending

NAMES = ["mask", "no mask"]


class Bright:
    """A network that sees one object of class 0 or 1 a picture: 20 x 10 pixels, where its brightest pixel is.

    `calls`: how many pictures each batch had.
    """

    def __init__(self, in_flight: int = 1) -> None:
        self.device = torch.device("cpu")
        self.in_flight = in_flight
        self.calls: list[int] = []
        self.waiting = 0
        self.most_waiting = 0

    def start(self, images_BCHW: Tensor) -> Pending:
        self.calls.append(len(images_BCHW))
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        grey_BHW = images_BCHW.float().sum(1)
        brightest_B = grey_BHW.flatten(1).argmax(1)
        row_B, column_B = brightest_B // grey_BHW.shape[2], brightest_B % grey_BHW.shape[2]
        rows = [
            [float(x), float(y), 20.0, 10.0, 0.9, *((0.8, 0.1) if grey.max() > 700 else (0.1, 0.7))]
            for x, y, grey in zip(column_B, row_B, grey_BHW, strict=True)
        ]

        def finish() -> Inference:
            self.waiting -= 1
            return Inference([], torch.tensor(rows)[:, None])

        return finish


def bright_detector(network: Bright | None = None, *, fixed_shape: Size | None = None, size: int = 64) -> Detector:
    model = Model("bright.pt (drawn)", NAMES, size, 32, network or Bright(), fixed_shape)
    return Detector(model, DetectionOptions())


def picture(value: int = 255, size: Size = (64, 64), spot: tuple[int, int] = (20, 30)) -> Image:
    """Black but for a spot of 4 x 4 pixels, from this row and column on."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[spot[0] : spot[0] + 4, spot[1] : spot[1] + 4] = value
    return pixels


VIDEO = Medium(PurePath("clip.mp4"), Kind.VIDEO, "films/clip.mp4", 10.0, 6)


def frames(medium: Medium = VIDEO, count: int = 6, size: Size = (64, 64)) -> list[Frame]:
    return [Frame(medium, n, n / 10, picture(size=size, spot=(20, 5 + n))) for n in range(count)]


class Listed:
    """A source of given items. One that is `live` waits after them until it is closed."""

    def __init__(self, items: Sequence[Frame | Skipped | Exception], *, live: bool = False) -> None:
        self._items = items
        self.live = live
        self.frames = None if live else len(items)
        self.closed = threading.Event()
        self.given = 0

    def __iter__(self) -> Iterator[Frame | Skipped]:
        for item in self._items:
            if self.closed.is_set():
                return
            if isinstance(item, Exception):
                raise item
            self.given += 1
            yield item
        if self.live:
            self.closed.wait()

    def close(self) -> None:
        self.closed.set()
