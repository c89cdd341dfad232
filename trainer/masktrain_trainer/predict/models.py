"""A detector by the name of its file: what `detect`, `val` and `compare` run, whatever wrote it."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import torch

from masktrain_trainer.model.precision import with_layout
from masktrain_trainer.weights.load import load_weights
from masktrain_trainer.weights.yolov5 import DetectorWeights

from .predictor import Network, TorchNetwork, choose_device, load_yolo


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
) -> Model:
    """A file, or an s3://, oci:// or https:// URI. Raises InvalidWeights.

    `device` None takes a GPU if there is one.
    """
    return torch_model(load_weights(weights, endpoint), PurePosixPath(weights).name, device, number_format)


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
