"""A detector as its file describes it, whoever wrote the file: to train on, to detect with, to export."""

from dataclasses import dataclass

from torch import Tensor

from masktrain_trainer.config import Architecture


@dataclass(frozen=True)
class DetectorWeights:
    """Tensors by YOLOv5's names; `names` are those of the classes that they know.

    image_size: side in pixels that it was trained for, as far as the file says; else what its architecture is made for.
    """

    architecture: Architecture
    names: list[str]
    image_size: int
    state_dict: dict[str, Tensor]
