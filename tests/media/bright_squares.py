"""A detector that needs no training, and the frames in which it finds something.

Squares of one colour on a grid, on grey of any shade: the colour's channel is the class, its saturation the confidence.
Each square is found twice, the second time 8 pixels beside it and less surely: what the threshold of IoU decides about.
"""

import threading
from collections.abc import Iterator
from pathlib import PurePath

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from masktrain_trainer.data.geometry import Image
from masktrain_trainer.detect.detector import DetectionOptions, Detector
from masktrain_trainer.detect.sources.base import Frame, Kind, Medium, Skipped
from masktrain_trainer.errors import UserError
from masktrain_trainer.predict.models import Model
from masktrain_trainer.predict.predictor import Inference, Pending

HOSTILE = "<script>document.title = 'taken'</script>"
NAMES = ["mask", "no mask", HOSTILE]
SQUARES = [(1, 1, 0, 0.9), (1, 4, 0, 0.5), (3, 2, 1, 0.8), (3, 6, 1, 0.35), (2, 8, 2, 0.7)]
COUNTS = {"0": 2, "1": 2, "2": 1}
CELL = 32
HEIGHT, WIDTH = 192, 320
SHIFT = 8
"""IoU of two squares so far apart is 0.6."""
SECOND = 0.9


class SquareFinder:
    """A Network; `calls` counts its batches."""

    in_flight = 1
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.calls = 0

    def start(self, images_BCHW: Tensor) -> Pending:
        self.calls += 1
        cells_BCYX = avg_pool2d(images_BCHW.float() / 255, CELL)
        saturation_BYX = cells_BCYX.amax(1) - cells_BCYX.amin(1)
        classes_BYXC = (cells_BCYX == cells_BCYX.amax(1, keepdim=True)).float().permute(0, 2, 3, 1)
        rows, columns = saturation_BYX.shape[1:]
        y_YX, x_YX = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        found = []
        for shift, factor in ((0, 1.0), (SHIFT, SECOND)):
            centres_YX2 = torch.stack((x_YX * CELL + CELL / 2 + shift, y_YX * CELL + CELL / 2), -1)
            boxes_YX4 = torch.cat((centres_YX2, torch.full_like(centres_YX2, CELL)), -1)
            boxes_BYX4 = boxes_YX4.expand(len(images_BCHW), -1, -1, -1)
            found.append(torch.cat((boxes_BYX4, saturation_BYX[..., None] * factor, classes_BYXC), -1).flatten(1, 2))
        inference = Inference([], torch.cat(found, 1))
        return lambda: inference


def square_detector(names: list[str], network: SquareFinder | None = None) -> Detector:
    model = Model("squares.pt (by hand)", names, WIDTH, CELL, network or SquareFinder())
    return Detector(model, DetectionOptions(confidence=0.25))


def picture(squares: list[tuple[int, int, int, float]], grey: int = 0) -> Image:
    """squares: row and column in the grid, class, confidence. `grey`: of the lowest row of cells."""
    pixels_HWC = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels_HWC[-CELL:] = grey
    for row, column, label, confidence in squares:
        place = slice(row * CELL, (row + 1) * CELL), slice(column * CELL, (column + 1) * CELL)
        pixels_HWC[(*place, label)] = round(confidence * 255)
    return pixels_HWC


def shade(number: int) -> int:
    """The grey of a frame's lowest strip."""
    return number * 16 % 256


class SquareSource:
    """The same squares in every frame, above a strip of grey that is another one in each.

    `frames` None: live, one about every 10 ms, until closed. `error`: raised at the end.
    """

    def __init__(
        self,
        squares: list[tuple[int, int, int, float]],
        frames: int | None = None,
        kind: Kind = Kind.LIVE,
        error: UserError | None = None,
        skipped: str | None = None,
    ) -> None:
        self.live, self.frames = kind is Kind.LIVE, frames
        self.taken = 0
        self._squares, self._error, self._skipped = squares, error, skipped
        self._medium = Medium(PurePath("yard"), kind, "camera in the yard", frames=frames)
        self._closed = threading.Event()

    def __iter__(self) -> Iterator[Frame | Skipped]:
        if self._skipped is not None:
            yield Skipped(self._skipped)
        while self.frames is None or self.taken < self.frames:
            if self._closed.wait(0.01 if self.live else 0):
                return
            number, self.taken = self.taken, self.taken + 1
            yield self.frame(number)
        if self._error is not None:
            raise self._error

    def frame(self, number: int) -> Frame:
        return Frame(self._medium, number, number * 0.02, picture(self._squares, shade(number)))

    def close(self) -> None:
        self._closed.set()
