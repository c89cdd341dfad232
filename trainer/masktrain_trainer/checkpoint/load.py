"""Reading the project's files. Pickles are never executed: only tensors and plain values are taken."""

import pickle
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from masktrain_trainer.config import Architecture

MODEL_FORMAT = "masktrain-v1"
STATE_FORMAT = "masktrain-state-v1"
_KINDS = {MODEL_FORMAT: "best.pt of MaskTrain", STATE_FORMAT: "checkpoint of MaskTrain"}


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
    document = load_document(path, MODEL_FORMAT)
    missing = [field.name for field in fields(ModelFile) if field.name not in document]
    if missing:
        raise ValueError(f"{path} is an incomplete best.pt of MaskTrain: it lacks {', '.join(missing)}.")
    if document["architecture"] not in list(Architecture):
        raise ValueError(f"{path} holds the model {document['architecture']!r}, which this version does not know.")
    values = {field.name: document[field.name] for field in fields(ModelFile)}
    return ModelFile(**values | {"architecture": Architecture(document["architecture"])})


def load_state(path: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Read a state.pt; with `mapped` tensors stay in the file until they are used.

    Raises ValueError with one sentence if it is not one.
    """
    return load_document(path, STATE_FORMAT, mapped=mapped)


def load_document(path: Path, expected: str, *, mapped: bool = False) -> dict[str, Any]:
    loaded = _load_plain(path, mapped)
    document: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    found = document.get("format")
    if found == expected:
        return document
    if found in _KINDS:
        raise ValueError(f"{path} is a {_KINDS[found]}, not a {_KINDS[expected]}.")
    raise ValueError(f"{path} is not a {_KINDS[expected]}.")


def _load_plain(path: Path, mapped: bool) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} is not a file that MaskTrain wrote, or it is damaged: "
            "other programs' files hold Python objects, and those are never executed."
        ) from None
    except Exception as error:  # torch's readers raise almost anything for bytes that are no torch file
        raise ValueError(
            f"{path} is not a file that MaskTrain wrote, or it is damaged ({type(error).__name__})."
        ) from None
