"""The data set's zip from where it lies, a store or a download link, and its SHA-256 compared.

While it comes, and while nothing comes, there is a line every few seconds: who waits shall see for what.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from masktrain_trainer.config import DATASET_URL, DatasetSpec
from masktrain_trainer.errors import DiskFull, InvalidDataset, ObjectMissing
from masktrain_trainer.files import sha256_of
from masktrain_trainer.stores import lines_while, open_object, shown_place
from masktrain_trainer.stores.web import NotTheFile, NotThere, Refused, download, link_in_secret, whole_link

from .archive import other_than_zip

MIB: Final = 1 << 20
LARGEST_DOWNLOAD: Final = 1 << 40
Say = Callable[[str], None]


def fetch(dataset: DatasetSpec, destination: Path, credentials: Path | None, say: Say) -> None:
    """Download the zip to the file `destination` and compare its SHA-256 with the one asked for, if any.

    Raises InvalidDataset if there is none or it is another one, StoreError if the store fails, and OSError for a full
    disk.
    """
    link = _link(dataset)
    # Of a hidden link the host alone: a path can be a key, too.
    place = shown_place(dataset.shown)
    if link is not None and dataset.uri is None:
        place = f"{place} to {urlsplit(link).hostname}"
    if link is None:
        with _arriving(place, destination, say) as arrival:
            _from_store(dataset, destination, credentials, arrival, say)
    else:
        fetch_link(link, place, destination, say)
    if dataset.sha256 is not None:
        check_sha256(destination, dataset.sha256, place)


def fetch_link(link: str, place: str, destination: Path, say: Say) -> None:
    """Download what the link leads to; `place` is what it is called. Raises as `fetch`."""
    with _arriving(place, destination, say) as arrival:
        _from_web(link, destination, arrival, say)


@contextmanager
def _arriving(place: str, destination: Path, say: Say) -> Iterator["_Arrival"]:
    """Say how a download goes, then look at what came. Raises InvalidDataset for what is no zip."""
    start = time.monotonic()
    arrival = _Arrival(place, destination.parent)
    with lines_while(arrival.line, say):
        yield arrival
    seconds, size = time.monotonic() - start, destination.stat().st_size
    say(f"downloaded in {seconds:.1f} s ({size / MIB / max(seconds, 1e-3):.0f} MiB/s)")
    # Before any checksum, which would be called wrong for a reason that is not the true one.
    if what := other_than_zip(destination):
        raise InvalidDataset(f"{place} {what}.")


def check_sha256(path: Path, expected: str, name: str) -> None:
    """Raise InvalidDataset unless the file's SHA-256 is `expected`."""
    actual = sha256_of(path)
    if actual != expected:
        raise InvalidDataset(
            f"{name} has the SHA-256 {actual}, but dataset.sha256 asks for {expected}; it was replaced or damaged."
        )


class _Arrival:
    """How much of a download has come, by what lies in its folder, whatever the unfinished file is called."""

    def __init__(self, place: str, folder: Path) -> None:
        self.place = place
        self.total: int | None = None
        self._folder, self._before = folder, 0
        self._before = self._bytes()
        self._most, self._grew = 0, 0.0

    def line(self, seconds: float) -> str:
        arrived = self._bytes()
        if arrived <= self._most:
            return f"waiting for {self.place}: nothing has come for {seconds - self._grew:.0f} s"
        self._most, self._grew = arrived, seconds
        of = "" if self.total is None else f" of {self.total / MIB:.0f}"
        return f"downloaded {arrived / MIB:.0f}{of} MiB"

    def _bytes(self) -> int:
        found = -self._before
        for path in self._folder.iterdir():
            with contextlib.suppress(FileNotFoundError):  # renamed since
                found += path.stat().st_size
        return found


def _link(dataset: DatasetSpec) -> str | None:
    """The whole link, with its key; None where the data lies in a store."""
    if dataset.uri_secret_ref is not None:
        return link_in_secret(DATASET_URL, dataset.uri_secret_ref, "dataset.uriSecretRef", InvalidDataset)
    if dataset.uri is None:
        raise InvalidDataset("The job names no data set: it needs dataset.uri or dataset.uriSecretRef.")
    return whole_link(dataset.uri) if dataset.uri.startswith("https://") else None


def _from_web(link: str, destination: Path, arrival: _Arrival, say: Say) -> None:
    place = arrival.place

    def expect(total: int) -> None:
        arrival.total = total
        say(f"downloading {place} ({total / MIB:.1f} MiB)")

    try:
        download(link, destination, largest=LARGEST_DOWNLOAD, name=place, expect=expect)
    except NotThere as error:
        raise InvalidDataset(f"{place} {error}; correct the link, or get a new one.") from None
    except Refused as error:
        raise InvalidDataset(f"{place} {error}; get a new link, one that needs no login.") from None
    except NotTheFile as error:
        raise InvalidDataset(f"{place} {error}; give the link of the zip itself.") from None


def _from_store(dataset: DatasetSpec, destination: Path, credentials: Path | None, arrival: _Arrival, say: Say) -> None:
    uri = dataset.uri or ""
    store, key = open_object(uri, dataset.store, credentials)
    info = store.head(key)
    if info is None:
        raise _missing(uri)
    arrival.total = info.size
    say(f"downloading {uri} ({info.size / MIB:.1f} MiB)")
    try:
        store.download(key, destination)
    except ObjectMissing:  # deleted since it was looked at
        raise _missing(uri) from None
    except DiskFull as error:
        raise (error.__cause__ or error) from None


def _missing(uri: str) -> InvalidDataset:
    return InvalidDataset(f"{uri} does not exist; upload the zip, or correct dataset.uri.")
