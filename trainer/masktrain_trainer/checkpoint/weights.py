"""Weights by URI or path, of YOLOv5 or our own."""

from pathlib import Path

from masktrain_trainer.config import Architecture, ModelSpec, StoreSpec
from masktrain_trainer.weights.detector_weights import DetectorWeights
from masktrain_trainer.weights.errors import UnusableWeights
from masktrain_trainer.weights.sources import download_weights, weights_uri
from masktrain_trainer.weights.unpickler import read_torch_file
from masktrain_trainer.weights.yolov5 import read_yolov5

from .fetch import file_sha256
from .load import load_model_file


class InvalidWeights(Exception):
    """`model.weights` cannot be used; the text is one sentence for a person."""


def fetch_weights(model: ModelSpec, store: StoreSpec | None, credentials: Path | None, path: Path) -> DetectorWeights:
    """Download `model.weights` to `path`, compare its SHA-256 with the one asked for, if any, and read it.

    `store` and `credentials` are those of the checkpoints. Raises InvalidWeights, or StoreError if the store fails.
    """
    shown = weights_uri(model).partition("?")[0]  # a signed address carries its secret there
    try:
        download_weights(model, store, credentials, path)
        _compare_sha256(model, path)
        weights = read_weights(path)
        _compare_architecture(weights.architecture, model.architecture)
    except UnusableWeights as error:
        raise InvalidWeights(f"{shown} {error}") from None
    return weights


def read_weights(path: Path) -> DetectorWeights:
    """A .pt of YOLOv5, or a best.pt of ours. Raises UnusableWeights."""
    document = read_torch_file(path)
    own = isinstance(document, dict) and "format" in document
    weights = _read_own(path) if own else read_yolov5(document).weights
    _refuse_numbers_that_are_none(weights)
    return weights


def _read_own(path: Path) -> DetectorWeights:
    try:
        own = load_model_file(path)
    except ValueError as error:
        raise UnusableWeights(str(error).removeprefix(f"{path} ")) from None
    return DetectorWeights(own.architecture, own.names, own.image_size, own.state_dict)


def _refuse_numbers_that_are_none(weights: DetectorWeights) -> None:
    for name, tensor in weights.state_dict.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise UnusableWeights(
                f"holds NaN or infinity in {name}: the training that wrote it diverged; choose an earlier checkpoint."
            )


def _compare_sha256(model: ModelSpec, path: Path) -> None:
    found = file_sha256(path)
    if model.sha256 not in (None, found):
        raise UnusableWeights(
            f"has the SHA-256 {found}, but model.sha256 asks for {model.sha256}; it was replaced or damaged."
        )


def _compare_architecture(found: Architecture, wanted: Architecture) -> None:
    if found != wanted:
        raise UnusableWeights(
            f"holds a {found.value}, but model.architecture is {wanted.value}; "
            f"set model.architecture to {found.value}, or choose weights of a {wanted.value}."
        )
