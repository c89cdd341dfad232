"""The weights that a training starts from, by URI."""

from pathlib import Path

from masktrain_trainer.config import ModelSpec, StoreSpec
from masktrain_trainer.stores import open_object
from masktrain_trainer.stores.errors import ObjectMissing

from .fetch import file_sha256
from .load import ModelFile, load_model_file


class InvalidWeights(Exception):
    """`model.weights` cannot be used; the text is one sentence for a person."""


def fetch_weights(model: ModelSpec, store: StoreSpec | None, credentials: Path | None, path: Path) -> ModelFile:
    """Download `model.weights` to `path`, compare its SHA-256 with the one asked for, if any, and read it.

    `store` and `credentials` are those of the checkpoints. Raises InvalidWeights, or StoreError if the store fails.
    """
    origin, key = open_object(model.weights, store, credentials)
    try:
        origin.download(key, path)
    except ObjectMissing:
        raise InvalidWeights(f"{model.weights} does not exist; upload it, or correct model.weights.") from None
    found = file_sha256(path)
    if model.sha256 not in (None, found):
        raise InvalidWeights(
            f"{model.weights} has the SHA-256 {found}, but model.sha256 asks for {model.sha256}; "
            "it was replaced or damaged."
        )
    try:
        return load_model_file(path)
    except ValueError as error:
        raise InvalidWeights(str(error).replace(str(path), model.weights)) from None
