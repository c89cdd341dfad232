"""What a training can start from, whoever wrote the file."""

from dataclasses import dataclass

from torch import Tensor

from masktrain_trainer.config import Architecture


@dataclass(frozen=True)
class StartingWeights:
    """Tensors by YOLOv5's names; `names` are those of the classes that they know."""

    architecture: Architecture
    names: list[str]
    state_dict: dict[str, Tensor]
