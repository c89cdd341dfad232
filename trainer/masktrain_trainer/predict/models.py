"""A detector by the name of its file: what `detect`, `val` and `compare` run, whatever wrote it."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

import torch

from masktrain_trainer.config import shown_url
from masktrain_trainer.model.precision import with_layout
from masktrain_trainer.weights.load import local_file, whole_model
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .exported import ExportedModel, is_exported, read_exported
from .predictor import Network, TorchNetwork, choose_device, load_yolo
from .runtimes import OpenVinoNetwork


@dataclass(frozen=True)
class Model:
    """A detector ready to run.

    `title` names its file and what it is, for people. `image_size` in pixels, as trained; the sides of its input are
    multiples of `stride`. `fixed_shape`: height and width of the one input that it takes, None for any.
    """

    title: str
    names: list[str]
    image_size: int
    stride: int
    network: Network
    fixed_shape: tuple[int, int] | None = None


def load_model(
    weights: str,
    endpoint: str | None = None,
    *,
    device: torch.device | None = None,
    number_format: torch.dtype = torch.float32,
    latency: bool = False,
) -> Model:
    """A .pt, .onnx or .xml (with the .bin beside it), a folder of OpenVINO, or the s3://, oci:// or https:// URI of a
    file. Raises InvalidWeights.

    `device` None takes a GPU if there is one; ONNX and OpenVINO models run on the CPU. `latency`: answer each picture
    as soon as can be, for live sources, instead of most pictures per second; of no effect on a .pt.
    """
    with local_file(weights, endpoint, WEIGHTS_BESIDE) as path:
        if not is_exported(path):
            return torch_model(whole_model(path), PurePosixPath(shown_url(weights)).name, device, number_format)
        return _openvino_model(read_exported(path), number_format, latency)


WEIGHTS_BESIDE: Final = {".xml": ".bin"}


def _openvino_model(file: ExportedModel, number_format: torch.dtype, latency: bool) -> Model:
    network = OpenVinoNetwork(file, number_format, latency=latency)
    title = f"{file.name} (OpenVINO {file.precision})"
    return Model(title, file.names, file.image_size, file.stride, network, file.fixed_shape)


def torch_model(
    file: DetectorWeights,
    name: str,
    device: torch.device | None = None,
    number_format: torch.dtype = torch.float32,
) -> Model:
    """Batch norms folded, channels last, on `device`."""
    network = with_layout(load_yolo(file).fuse().to(device or choose_device()), torch.channels_last)
    title = f"{name} ({file.architecture.value})"
    return Model(title, file.names, file.image_size, file.architecture.max_stride, TorchNetwork(network, number_format))
