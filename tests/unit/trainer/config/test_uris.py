"""What may stand where a store's address is asked for."""

import pytest
from pydantic import ValidationError

from masktrain_trainer.config import CheckpointSpec, DatasetSpec, ModelSpec

OBJECTS = [
    "s3://datasets/masks.zip",
    "oci://datasets@axvision/masks.zip",
    "oci://Data_Sets.1@ax-vision/a/b #1.zip",
    "file:///data/masks.zip",
]
NOWHERE = [
    "oci://datasets/masks.zip",
    "oci://@axvision/masks.zip",
    "oci://datasets@/masks.zip",
    "gs://bucket/masks.zip",
]


@pytest.mark.parametrize("uri", OBJECTS)
def test_an_object_is_taken(uri: str) -> None:
    assert DatasetSpec(uri=uri).uri == uri
    assert ModelSpec(weights=uri).weights == uri
    assert CheckpointSpec(uri=uri).uri == uri


@pytest.mark.parametrize("uri", [*NOWHERE, "oci://datasets@axvision", "oci://datasets@axvision/"])
def test_what_names_no_object_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        DatasetSpec(uri=uri)
    with pytest.raises(ValidationError):
        ModelSpec(weights=uri)


@pytest.mark.parametrize("uri", NOWHERE)
def test_what_names_no_bucket_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        CheckpointSpec(uri=uri)


def test_a_bucket_is_prefix_enough() -> None:
    assert CheckpointSpec(uri="oci://checkpoints@axvision").uri == "oci://checkpoints@axvision"
