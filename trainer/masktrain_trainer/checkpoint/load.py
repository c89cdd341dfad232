"""Reading the project's files. Pickles are never executed: only tensors and plain values are taken."""

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from masktrain_trainer.config import Architecture

MODEL_FORMAT = "masktrain-v1"
STATE_FORMAT = "masktrain-state-v1"


@dataclass(frozen=True)
class ModelFile:
    """A best.pt: averaged weights in float16, and what is needed to run them. `image_size` in pixels, as trained."""

    architecture: Architecture
    names: list[str]
    image_size: int
    epoch: int
    step: int
    fitness: float | None
    metrics: dict[str, float]
    training: dict[str, Any]
    state_dict: dict[str, Tensor]


def load_model_file(path: Path) -> ModelFile:
    """Read a best.pt. Raises ValueError with one sentence if it is not one."""
    document = _load(path, MODEL_FORMAT)
    fields = {name: document[name] for name in ModelFile.__dataclass_fields__ if name != "architecture"}
    return ModelFile(architecture=Architecture(document["architecture"]), **fields)


def load_state(path: Path) -> dict[str, Any]:
    """Read a state.pt. Raises ValueError with one sentence if it is not one."""
    return _load(path, STATE_FORMAT)


def _load(path: Path, expected: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except (pickle.UnpicklingError, zipfile.BadZipFile, RuntimeError, EOFError, KeyError, OSError):
        raise ValueError(f"{path} is not a file that MaskTrain wrote, or it is damaged.") from None
    found = document.get("format") if isinstance(document, dict) else None
    if found != expected:
        raise ValueError(f"{path} is not a {expected} file (its format is {found!r}).")
    return document
