"""A model's twins for other runtimes: each is measured on the validation split, and refused if it lost too much."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from masktrain_trainer.config import Precision
from masktrain_trainer.data.prepared import PreparedDataset
from masktrain_trainer.model.precision import choose_format
from masktrain_trainer.predict.accuracy import Measured, measure, size_for
from masktrain_trainer.predict.models import Model, load_model, torch_model
from masktrain_trainer.predict.predictor import choose_device
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .onnx import OnnxOptions, write_onnx
from .openvino import OpenVinoOptions, calibration_pictures, folder_of, write_openvino

Say = Callable[[str], None]

OPENVINO: Final = "OpenVINO"
ONNX: Final = "ONNX"
_BATCH_SIZE: Final = 8
_CPU: Final = torch.device("cpu")


@dataclass(frozen=True)
class TwinOptions:
    """`formats`: OpenVINO, ONNX. `int8`: of OpenVINO one in eight bits, too; `floats` False: that one alone.

    `max_accuracy_loss`: of mAP50, in its own unit, 0 to 1.
    """

    formats: Sequence[str] = (OPENVINO,)
    int8: bool = False
    max_accuracy_loss: float = 0.01
    floats: bool = True


@dataclass(frozen=True)
class TwinScores:
    """On the validation split; frames per second of network and NMS, on this machine."""

    map50: float
    map50_95: float
    frames_per_second: float


@dataclass(frozen=True)
class Twin:
    """`path`: a file, or OpenVINO's folder; gone if it was `refused`, whose sentence says why. `size`: bytes."""

    format: str
    precision: str
    path: Path
    size: int
    scores: TwinScores
    original: TwinScores
    refused: str | None

    def __str__(self) -> str:
        kind = f"{self.path.name} ({self.format} {self.precision})"
        if self.refused is not None:
            return self.refused
        return f"{kind}, {self.size / 1e6:.1f} MB: {_shown(self.scores)}; the original {_shown(self.original)}"


def export_twins(
    file: DetectorWeights,
    prepared: PreparedDataset,
    options: TwinOptions,
    folder: Path,
    say: Say,
    *,
    stem: str = "best",
) -> list[Twin]:
    """Write the twins into `folder`, measure each at `prepared.image_size`, and delete those that lost too much.

    Raises InvalidConfiguration if packages are missing.
    """
    device = choose_device()
    number_format = choose_format(Precision.AUTO, device)
    original = _scores(torch_model(file, f"{stem}.pt", device, number_format), prepared)
    say(f"{stem}.pt: {_shown(original)}")
    twins = []
    if options.int8:
        say("calibrating eight bits on pictures of the training split")
    for path in _written(file, prepared, options, folder / stem):
        twin = _judged(path, prepared, original, options.max_accuracy_loss)
        if twin.refused is not None:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        twins.append(twin)
    return twins


def _written(file: DetectorWeights, prepared: PreparedDataset, options: TwinOptions, beside: Path) -> list[Path]:
    """The twins, named after the file `beside`."""
    folder, stem = beside.parent, beside.name
    size, stride = prepared.image_size, file.architecture.max_stride
    paths = []
    if ONNX in options.formats:
        paths.append(folder / f"{stem}.onnx")
        write_onnx(file, paths[-1], OnnxOptions(size, dynamic=True))
    if OPENVINO in options.formats and options.floats:
        paths.append(folder / folder_of(stem))
        write_openvino(file, paths[-1], OpenVinoOptions(size))
    if OPENVINO in options.formats and options.int8:
        paths.append(folder / folder_of(f"{stem}-int8"))
        write_openvino(file, paths[-1], OpenVinoOptions(size), calibration=calibration_pictures(prepared, stride))
    return paths


def _judged(path: Path, prepared: PreparedDataset, original: TwinScores, most: float) -> Twin:
    model = load_model(str(path), number_format=choose_format(Precision.AUTO, _CPU))
    scores = _scores(model, prepared)
    lost = original.map50 - scores.map50
    format_, precision = (ONNX if path.suffix == ".onnx" else OPENVINO), model.title.rpartition(" ")[2].rstrip(")")
    refused = None
    if lost > most:
        refused = (
            f"{path.name} ({format_} {precision}) is refused: its mAP50 is {scores.map50:.4f} and the original's "
            f"{original.map50:.4f}, a loss of {lost:.4f} where {most:g} is allowed."
        )
    return Twin(format_, precision, path, _bytes(path), scores, original, refused)


def _scores(model: Model, prepared: PreparedDataset) -> TwinScores:
    size = size_for(model, prepared.image_size)
    found: Measured = measure(model, prepared, prepared.val, image_size=size, batch_size=_BATCH_SIZE)
    return TwinScores(found.metrics.map50, found.metrics.map50_95, found.frames_per_second)


def _shown(scores: TwinScores) -> str:
    return f"mAP50 {scores.map50:.4f}, mAP50-95 {scores.map50_95:.4f}, {scores.frames_per_second:.1f} frames/s"


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.iterdir()) if path.is_dir() else path.stat().st_size
