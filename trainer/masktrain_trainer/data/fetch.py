"""Bring the data set's zip from its store into the pod."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from masktrain_trainer.config import DatasetSpec
from masktrain_trainer.stores import open_object
from masktrain_trainer.stores.errors import ObjectMissing

from .errors import InvalidDataset

MIB = 1 << 20
SECONDS_BETWEEN_LINES = 5.0


def fetch(dataset: DatasetSpec, destination: Path, credentials: Path | None, say: Callable[[str], None]) -> None:
    """Download `dataset.uri` to the file `destination` and compare its SHA-256 with the one asked for, if any.

    Raises InvalidDataset if the object does not exist or is another one, and StoreError if the store fails.
    """
    store, key = open_object(dataset.uri, dataset.store, credentials)
    info = store.head(key)
    if info is None:
        raise _missing(dataset.uri)
    say(f"downloading {dataset.uri} ({info.size / MIB:.1f} MiB)")
    start = time.monotonic()
    try:
        with _growth_reported(destination.parent, info.size, say):
            store.download(key, destination)
    except ObjectMissing:
        raise _missing(dataset.uri) from None
    seconds = time.monotonic() - start
    say(f"downloaded in {seconds:.1f} s ({info.size / MIB / max(seconds, 1e-3):.0f} MiB/s)")
    if dataset.sha256 is not None:
        check_sha256(destination, dataset.sha256, dataset.uri)


def check_sha256(path: Path, expected: str, name: str) -> None:
    """Raise InvalidDataset unless the file's SHA-256 is `expected`."""
    with path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if actual != expected:
        raise InvalidDataset(
            f"{name} has the SHA-256 {actual}, but dataset.sha256 asks for {expected}; it was replaced or damaged."
        )


@contextmanager
def _growth_reported(folder: Path, total: int, say: Callable[[str], None]) -> Iterator[None]:
    """Say now and then how much of a download has arrived in `folder`, whatever the unfinished file is called."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            arrived = sum(path.stat().st_size for path in folder.iterdir())
            say(f"downloaded {arrived / MIB:.0f} of {total / MIB:.0f} MiB")

    reporter = threading.Thread(target=report, name="download-progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def _missing(uri: str) -> InvalidDataset:
    return InvalidDataset(f"{uri} does not exist; upload the zip, or correct dataset.uri.")
