"""What may stand where a store's address is asked for."""

import pytest
from pydantic import ValidationError

from masktrain_trainer.config import CheckpointSpec, DatasetSpec, ModelSpec, is_signed

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


@pytest.mark.parametrize(
    "uri", ["https://example.com/masks.zip", "https://app.roboflow.com/ds/AbC", "https://a:8443/x"]
)
def test_a_link_is_a_place_for_data_and_none_for_checkpoints(uri: str) -> None:
    assert DatasetSpec(uri=uri).uri == uri
    assert not is_signed(uri)
    with pytest.raises(ValidationError):
        CheckpointSpec(uri=uri)


@pytest.mark.parametrize("uri", ["http://example.com/masks.zip", "https://me:word@example.com/masks.zip", "https://a"])
def test_what_is_no_link_is_refused(uri: str) -> None:
    with pytest.raises(ValidationError):
        DatasetSpec(uri=uri)


DIGITS = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "written", [DIGITS, DIGITS.upper(), f"sha256:{DIGITS}", f"sha256:{DIGITS.upper()}", f"{DIGITS}\n"]
)
def test_a_checksum_has_one_spelling_whoever_printed_it(written: str) -> None:
    """So that an image from before, which knows small letters only, reads what this operator hands on."""
    assert DatasetSpec(uri=OBJECTS[0], sha256=written).sha256 == DIGITS
    assert ModelSpec(weights=OBJECTS[0], sha256=written).sha256 == DIGITS


@pytest.mark.parametrize("written", ["", DIGITS[:-1], f"{DIGITS}0", "g" * 64, f"md5:{DIGITS}", "SHA256:" + DIGITS])
def test_half_a_checksum_is_refused_in_words(written: str) -> None:
    with pytest.raises(ValidationError, match="must be the 64 hex digits that sha256sum prints"):
        DatasetSpec(uri=OBJECTS[0], sha256=written)
