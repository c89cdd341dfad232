"""`masktrain data push`: a checked data set goes to its store, and the manifest's `dataset` block comes back."""

from collections.abc import Callable
from pathlib import Path

import yaml
from rich.console import Console

from masktrain_trainer.config import DatasetSpec, FailureReason, StoreSpec
from masktrain_trainer.data.errors import InvalidDataset
from masktrain_trainer.data.prepare import require_boxes
from masktrain_trainer.data.summary import TABLE_WIDTH, print_classes
from masktrain_trainer.stores import Store, open_object
from masktrain_trainer.train.errors import UserError

from .dataset_folder import check_dataset, open_dataset
from .dataset_zip import as_archive, sha256_of
from .scratch import scratch_folder

Say = Callable[[str], None]

_SMALL = 64
"""Side of the decoded images: they are looked at and thrown away."""


def push_dataset(source: Path, uri: str, endpoint: str | None, *, replace: bool, say: Say) -> DatasetSpec:
    """Check, pack if it is a folder, and upload; the block for the manifest.

    An object with another content stays, unless it may be replaced. Raises UserError, InvalidDataset or StoreError.
    """
    target = _target(source, uri, endpoint)
    with scratch_folder() as scratch:
        archive = as_archive(source, scratch)
        _check(source, scratch, say)
        digest = sha256_of(archive)
        store, key = open_object(target.uri, target.store, None)
        _upload(store, key, archive, digest, replace=replace, say=say)
    return target.model_copy(update={"sha256": digest})


def as_block(dataset: DatasetSpec) -> str:
    """YAML to paste below `spec:`."""
    document = {"dataset": dataset.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)}
    return yaml.safe_dump(document, sort_keys=False)


def _target(source: Path, uri: str, endpoint: str | None) -> DatasetSpec:
    """A URI that ends with a slash is a folder, in which the object is called like the source."""
    whole = f"{uri}{source.resolve().name.removesuffix('.zip')}.zip" if uri.endswith("/") else uri
    try:
        return DatasetSpec(uri=whole, store=StoreSpec(endpoint=endpoint) if endpoint else None)
    except ValueError:
        raise UserError(
            FailureReason.INVALID_CONFIGURATION,
            f"{uri} is no place for a data set; give oci://bucket@namespace/key.zip, s3://bucket/key.zip or "
            "file:///folder/name.zip.",
        ) from None


def _check(source: Path, scratch: Path, say: Say) -> None:
    root = open_dataset(str(source), None, scratch, say)
    checked = check_dataset(root, scratch, say, image_size=_SMALL)
    require_boxes(checked.splits["train"])
    print_classes(checked.names, checked.splits, Console(stderr=True, width=TABLE_WIDTH))
    for sentence in checked.skipped:
        say(sentence)


def _upload(store: Store, key: str, archive: Path, digest: str, *, replace: bool, say: Say) -> None:
    there = store.head(key)
    if there is not None and there.sha256 == digest:
        say(f"{store.uri(key)} holds this data set already")
        return
    if there is not None and not replace:
        raise InvalidDataset(
            f"{store.uri(key)} exists and is another data set; choose another name, or replace it with --replace."
        )
    store.put(key, archive, sha256=digest)
    say(f"uploaded {archive.stat().st_size / (1 << 20):.1f} MiB to {store.uri(key)}")
