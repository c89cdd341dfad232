"""What every object store can do. Keys are relative to the store's prefix and use `/`."""

import errno
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

from masktrain_trainer.errors import ConditionsUnsupported, DiskFull, PreconditionFailed

DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
"""What the disk says that an object is downloaded to."""


def disk_full(uri: str) -> DiskFull:
    return DiskFull(f"The disk here has no room for {uri}.")


@dataclass(frozen=True)
class ObjectInfo:
    """`sha256` is what the writer recorded (S3 metadata) or what the file has (folders); None if nobody recorded it.

    `etag` is opaque: it identifies one version of the object for `if_match`.
    """

    key: str
    size: int
    etag: str
    sha256: str | None
    modified: datetime


class Store(Protocol):
    """A bucket with a prefix, or a folder. Every method raises StoreError and nothing else for the store's failures."""

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        """Write an object whole or not at all.

        `sha256` spares hashing a file again. A condition that does not hold raises PreconditionFailed, unless the store
        ignores conditions: see `honours_conditional_writes`. Conditions go with `bytes` only: a large file is sent in
        parts, for which no server promises them; together with a Path they raise ValueError.
        """
        ...

    def read(self, key: str) -> bytes:
        """The whole object. Raises ObjectMissing."""
        ...

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        """The whole object, and the etag of just this version. Raises ObjectMissing."""
        ...

    def download(self, key: str, path: Path) -> ObjectInfo:
        """Write the object to the file `path`. Raises ObjectMissing, and DiskFull."""
        ...

    def head(self, key: str) -> ObjectInfo | None:
        """What is known of an object; None if there is none."""
        ...

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose keys start with `prefix`, without their `sha256`."""
        ...

    def delete(self, key: str) -> None:
        """Delete an object; one that is not there is fine."""
        ...

    def copy(self, source: str, destination: str) -> None:
        """Copy within the store, by the store itself where it can. Raises ObjectMissing."""
        ...

    def discard_unfinished(self, prefix: str, *, before: datetime | None = None) -> None:
        """Remove what writers that were killed left of objects below `prefix`: no listing shows it, but it is stored.

        A write that is still under way there fails, unless it began after `before`.
        """
        ...

    def uri(self, key: str) -> str:
        """Where a person finds the object."""
        ...

    def honours_conditional_writes(self) -> bool:
        """Whether `if_absent` and `if_match` are proven to work: some servers accept the headers and ignore them."""
        ...


def conditional_writes_work(store: Store) -> bool:
    """Write a probe object again under conditions that must fail.

    Raises StoreError if the store fails otherwise: an outage says nothing about conditions.
    """
    # Of its own, because two containers may probe the same prefix at the same time.
    key = f".probe-{uuid.uuid4().hex}"
    store.put(key, b"1")
    try:
        return _refused(store, key, if_absent=True) and _refused(store, key, if_absent=False)
    except ConditionsUnsupported:
        return False
    finally:
        store.delete(key)


def _refused(store: Store, key: str, *, if_absent: bool) -> bool:
    try:
        # In the form of an ETag, but of no object.
        store.put(key, b"2", if_absent=if_absent, if_match=None if if_absent else "0" * 32)
    except PreconditionFailed:
        return True
    return False
