"""From a URI to the store behind it, and what is said of a place while nothing comes from it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote

from masktrain_trainer.config import StoreSpec, shown_url

from .base import Store


def open_store(uri: str, spec: StoreSpec | None, credentials: Path | None) -> Store:
    """The store whose keys are relative to `uri`: `oci://bucket@namespace/prefix`, `s3://bucket/prefix`, `file:///folder`.

    `credentials` is the folder of the mounted Secret, one file a key. Raises StoreDenied if a Secret was asked for and
    lacks the needed keys, ValueError for another scheme, StoreUnavailable if Oracle lets nobody sign in just now.

    A new scheme has to be in the patterns of `config/spec.py` too, or the API server refuses its URIs.
    """
    scheme, _, rest = uri.partition("://")  # not urlsplit: `#` and `?` are ordinary characters of a key
    if scheme == "s3":
        from .s3 import open_s3  # noqa: PLC0415 - boto3 takes a third of a second to import, folders do not need it

        bucket, _, prefix = rest.partition("/")
        return open_s3(bucket, prefix.strip("/"), spec or StoreSpec(), credentials)
    if scheme == "oci":
        from .oci import open_oci  # noqa: PLC0415 - nor Oracle's SDK, which takes as long

        place, _, prefix = rest.partition("/")
        bucket, _, namespace = place.partition("@")
        return open_oci(bucket, namespace, prefix.strip("/"), spec or StoreSpec(), credentials)
    if scheme == "file" and rest.startswith("/"):
        from .folder import FolderStore  # noqa: PLC0415

        # Unquoted, as Path.as_uri quotes; keys of buckets are taken as they are.
        return FolderStore(Path(_unquoted(rest)))
    raise ValueError(f"{shown_url(uri)} must start with oci://, s3:// or file:///.")


def open_object(uri: str, spec: StoreSpec | None, credentials: Path | None) -> tuple[Store, str]:
    """The store and the key of one object. Raises as `open_store`."""
    folder, _, key = uri.rpartition("/")
    if uri.startswith("file:"):
        return open_store(f"{folder}/", spec, credentials), _unquoted(key)
    return open_store(folder, spec, credentials), key


def shown_place(uri: str) -> str:
    """A URI as a person would look for it: the path of a file:// one is shown as it is."""
    return _unquoted(uri) if uri.startswith("file:") else uri


def _unquoted(text: str) -> str:
    # A name on a disk may be no UTF-8.
    return unquote(text, errors="surrogateescape")


SECONDS_BETWEEN_LINES = 5.0


@contextmanager
def lines_while(line: Callable[[float], str], say: Callable[[str], None]) -> Iterator[None]:
    """Say `line` of the seconds that have gone by, now and then, for as long as the context lasts."""
    done, start = threading.Event(), time.monotonic()

    def report() -> None:
        while not done.wait(SECONDS_BETWEEN_LINES):
            say(line(time.monotonic() - start))

    # A thread, because an SDK's call does not come back before its end.
    reporter = threading.Thread(target=report, name="download-progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
