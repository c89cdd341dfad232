"""Weights by URI or path: a .pt of YOLOv5, or a best.pt of ours.

No file is ever executed: of our own files only tensors and plain values are taken, those of other programs are read by
`torch_file.py`.
"""

import logging
import pickle
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from masktrain_trainer.config import Architecture, ModelSpec, StoreSpec, shown_url
from masktrain_trainer.errors import InvalidWeights, StoreError, UnusableWeights
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import open_object
from masktrain_trainer.stores.web import NotTheFile, download

from .sources import LARGEST_DOWNLOAD, download_weights, weights_uri
from .torch_file import read_torch_file
from .yolov5 import DetectorWeights, class_names, read_yolov5, recognise

log = logging.getLogger(__name__)


def fetch_weights(model: ModelSpec, store: StoreSpec | None, credentials: Path | None, path: Path) -> DetectorWeights:
    """Download `model.weights` to `path`, compare its SHA-256 with the one asked for, if any, and read it.

    `store` and `credentials` are those of the checkpoints. Raises InvalidWeights, or StoreError if the store fails.
    """
    shown = shown_url(weights_uri(model))
    claim = "; YOLOv5's authors claim the licence AGPL-3.0 for these" if model.from_official else ""
    log.info("weights: %s%s", shown, claim)
    try:
        download_weights(model, store, credentials, path)
        _compare_sha256(model, path)
        weights = read_weights(path)
        _compare_architecture(weights.architecture, model.architecture)
    except UnusableWeights as error:
        raise InvalidWeights(f"{shown} {error}") from None
    return weights


def load_weights(weights: str, endpoint: str | None) -> DetectorWeights:
    """A best.pt or a .pt of YOLOv5, a local file or an object. Raises InvalidWeights.

    Credentials come from the usual AWS_* variables, or from Oracle's config file.
    """
    with local_file(weights, endpoint) as path:
        return whole_model(path)


@contextmanager
def local_file(weights: str, endpoint: str | None, beside: Mapping[str, str] = MappingProxyType({})) -> Iterator[Path]:
    """The file itself, or a copy of what an s3://, oci://, file:// or https:// URI names, for as long as it is read.

    `beside`: endings of files, and those of other files that are fetched with them. What is wrong with the file while
    the context lasts, UnusableWeights or OSError, becomes a sentence. Raises InvalidWeights.
    """
    if not weights.strip():
        raise InvalidWeights("The name of the weights is empty; give a file, a folder or a URI.")
    try:
        if "://" not in weights:
            yield Path(weights)
            return
        with tempfile.TemporaryDirectory() as folder:
            place, mark, query = weights.partition("?") if weights.startswith("https://") else (weights, "", "")
            stem, dot, ending = place.rpartition("/")[2].rpartition(".")
            local = Path(folder) / (f"{stem}{dot}{ending}" or "weights.pt")
            _fetch(weights, endpoint, local)
            if other := beside.get(f".{ending.lower()}"):
                _fetch(f"{place.removesuffix(f'.{ending}')}{other}{mark}{query}", endpoint, local.with_suffix(other))
            yield local
    except FileNotFoundError as error:
        raise InvalidWeights(f"The weights {shown_url(weights)} do not exist.") from error
    except OSError as error:
        raise InvalidWeights(f"The weights {shown_url(weights)} cannot be read: {error.strerror}.") from error
    except UnusableWeights as error:
        raise InvalidWeights(f"{shown_url(weights)} {error}") from error
    except (StoreError, ValueError) as error:
        # Whatever a store answers, these weights are of no use to the command that names them: exit code 64.
        raise InvalidWeights(str(error)) from error


def _fetch(uri: str, endpoint: str | None, path: Path) -> None:
    if not uri.startswith("https://"):
        store, key = open_object(uri, StoreSpec(endpoint=endpoint), None)
        store.download(key, path)
        return
    try:
        download(uri, path, largest=LARGEST_DOWNLOAD)
    except NotTheFile as error:
        raise InvalidWeights(f"{shown_url(uri)} {error}; correct the address.") from None


def whole_model(path: Path) -> DetectorWeights:
    """A training takes over what fits; to run a model, all of it has to be there. Raises UnusableWeights."""
    weights = read_weights(path)
    if recognise(weights.state_dict, len(weights.names)) is not weights.architecture:
        raise UnusableWeights(f"is damaged: its tensors are not those of a {weights.architecture.value}.")
    return weights


def read_weights(path: Path) -> DetectorWeights:
    """A .pt of YOLOv5, or a best.pt of ours. Raises UnusableWeights."""
    # Also files that look like ours, by the reader that checked them: torch's own may find other members in a zip.
    document = read_torch_file(path)
    weights = _read_own(document, path) if _says_own_format(document) else read_yolov5(document).weights
    _refuse_non_finite(weights)
    return weights


def _says_own_format(document: Any) -> bool:
    found = document.get("format") if isinstance(document, dict) else None
    return isinstance(found, str) and found.startswith(_OWN_FORMATS)


def _read_own(document: Any, path: Path) -> DetectorWeights:
    try:
        own = _model_file(_of_format(document, path, MODEL_FORMAT), path)
    except ValueError as error:
        raise UnusableWeights(str(error).removeprefix(f"{path} ")) from None
    return DetectorWeights(own.architecture, own.names, own.image_size, own.state_dict)


def _refuse_non_finite(weights: DetectorWeights) -> None:
    for name, tensor in weights.state_dict.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UnusableWeights(
                f"holds NaN or infinity in {name}: the training that wrote it diverged; choose an earlier checkpoint."
            )


def _compare_sha256(model: ModelSpec, path: Path) -> None:
    found = sha256_of(path)
    if model.sha256 is not None and model.sha256.lower() != found:
        raise UnusableWeights(
            f"has the SHA-256 {found}, but model.sha256 asks for {model.sha256}; it was replaced or damaged."
        )


def _compare_architecture(found: Architecture, wanted: Architecture) -> None:
    if found != wanted:
        raise UnusableWeights(
            f"holds a {found.value}, but model.architecture is {wanted.value}; "
            f"set model.architecture to {found.value}, or choose weights of a {wanted.value}."
        )


MODEL_FORMAT = "masktrain-v1"
STATE_FORMAT = "masktrain-state-v1"
_OWN_FORMATS = "masktrain-"
_LARGEST_SIDE = 8192
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
    """Read a best.pt that this job has stored. Raises ValueError with one sentence if it is not one."""
    return _model_file(load_document(path, MODEL_FORMAT), path)


def _model_file(document: dict[str, Any], path: Path) -> ModelFile:
    missing = [field.name for field in fields(ModelFile) if field.name not in document]
    if missing:
        raise ValueError(f"{path} is an incomplete best.pt of MaskTrain: it lacks {', '.join(missing)}.")
    if document["architecture"] not in list(Architecture):
        raise ValueError(f"{path} holds the model {document['architecture']!r:.80}, which this version does not know.")
    if not _is_model(document):
        raise ValueError(f"{path} is a damaged best.pt of MaskTrain: its fields are not of the types that they have.")
    values = {field.name: document[field.name] for field in fields(ModelFile)}
    try:
        names = class_names(document["names"])
    except UnusableWeights as error:
        raise ValueError(f"{path} {error}") from None
    return ModelFile(**values | {"architecture": Architecture(document["architecture"]), "names": names})


def _is_model(document: dict[str, Any]) -> bool:
    tensors, size = document["state_dict"], document["image_size"]
    return (
        isinstance(tensors, dict)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in tensors.items())
        and type(size) is int
        and 0 < size <= _LARGEST_SIDE
        and isinstance(document["metrics"], dict)
    )


def load_document(path: Path, expected: str, *, mapped: bool = False) -> dict[str, Any]:
    return _of_format(_load_plain(path, mapped), path, expected)


def _of_format(loaded: Any, path: Path, expected: str) -> dict[str, Any]:
    document: dict[str, Any] = loaded if isinstance(loaded, dict) else {}
    found = document.get("format")
    if found == expected:
        return document
    if isinstance(found, str) and found in _KINDS:
        raise ValueError(f"{path} is a {_KINDS[found]}, not a {_KINDS[expected]}.")
    if isinstance(found, str) and found.startswith(_OWN_FORMATS):
        raise ValueError(f"{path} is of the format {found!r:.80}, which this version of MaskTrain does not know.")
    raise ValueError(f"{path} is not a {_KINDS[expected]}.")


def _load_plain(path: Path, mapped: bool) -> Any:
    try:
        # On the CPU, or a file that was written on a GPU could not be read without one.
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist.") from None
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} is not a file that MaskTrain wrote, or it is damaged: "
            "other programs' files hold Python objects, and those are never executed."
        ) from None
    except Exception as error:  # noqa: BLE001 - torch's readers raise almost anything for bytes that are no torch file
        raise ValueError(
            f"{path} is not a file that MaskTrain wrote, or it is damaged ({type(error).__name__})."
        ) from None
