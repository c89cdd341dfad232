"""What buckets behind a network have in common, whichever SDK speaks to them.

Objects carry their SHA-256 in metadata, large files go in parts, a write is proven by a HEAD, and every failure of the
SDK becomes a StoreError with one sentence.
"""

import base64
import contextlib
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import ClassVar, Final

from masktrain_trainer.config import SecretRef
from masktrain_trainer.errors import ObjectMissing, StoreDenied, StoreError, StoreUnavailable
from masktrain_trainer.files import sha256_of

from .base import DISK_FULL, ObjectInfo, conditional_writes_work, disk_full

MIB: Final = 1 << 20
# What is smaller goes as one request, whole and with an MD5 that the server checks.
IN_PARTS_FROM: Final = 64 * MIB
# A checkpoint of 300 MB has 19 of them, enough to fill all connections; Oracle's 128 MiB would give it three.
PART: Final = 16 * MIB
PARALLEL_PARTS: Final = 4
SHA256: Final = "sha256"
"""The metadata that the checksum travels in: an ETag is none, once a file was sent in parts."""
_WORDLESS: Final = (301, 307, 400, 401, 403, 405, 406, 501)
"""Statuses of a refusal whose reason is in its body, which the answer to a HEAD does not have."""


@dataclass(frozen=True)
class IncompleteUpload:
    """`name` is the object's whole key in the bucket; `begun` is None where the server does not say."""

    name: str
    id: str
    begun: datetime | None


class RemoteStore(ABC):
    """Objects below `prefix` of one bucket. Subclasses say how their SDK does each step, and let its errors pass."""

    failures: ClassVar[tuple[type[Exception], ...]]
    """All that the SDK raises."""

    def __init__(self, prefix: str) -> None:
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket_seen = False

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        conditional = if_absent or if_match is not None
        if isinstance(body, Path) and conditional:
            raise ValueError("conditions go with bytes only")
        with self._failures(key, conditional=conditional):
            metadata = {SHA256: sha256 or sha256_of(body)}
            if isinstance(body, Path) and body.stat().st_size >= IN_PARTS_FROM:
                self._put_in_parts(key, body, metadata)
            else:
                content = body if isinstance(body, bytes) else body.read_bytes()
                self._put_at_once(key, content, metadata, if_absent, if_match)
        found = self.head(key)
        if found is None:
            raise StoreUnavailable(f"{self.uri(key)} was written but is not there.")
        return found

    def read(self, key: str) -> bytes:
        return self.read_with_etag(key)[0]

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        with self._failures(key):
            return self._read(key)

    def download(self, key: str, path: Path) -> ObjectInfo:
        info = self.head(key)
        if info is None:
            raise ObjectMissing(f"{self.uri(key)} does not exist.")
        with self._failures(key):
            self._download(key, path)
        return info

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._failures(key):
                found = self._looked_at(key)
        except ObjectMissing:
            self._require_bucket()
            return None
        self._bucket_seen = True
        return found

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._pages(prefix)
        while True:
            with self._failures(prefix):  # not around the yield: what the caller does is no failure of the store
                page = next(pages, None)
            if page is None:
                return
            yield from page

    def delete(self, key: str) -> None:
        with contextlib.suppress(ObjectMissing), self._failures(key):
            self._delete(key)

    def copy(self, source: str, destination: str) -> None:
        with self._failures(source):
            self._copy(source, destination)

    def discard_unfinished(self, prefix: str, *, before: datetime | None = None) -> None:
        with self._failures(prefix):
            # All are listed before the first is gone: a server may count pages from the start.
            for upload in [*self._unfinished_uploads(prefix)]:
                # One of unknown age may be a live writer's.
                old = before is None or (upload.begun is not None and upload.begun < before)
                if old and upload.name.startswith(self._full(prefix)):
                    self._abort_unless_ended(upload)

    def honours_conditional_writes(self) -> bool:
        return conditional_writes_work(self)

    @abstractmethod
    def uri(self, key: str) -> str: ...

    @abstractmethod
    def _put_at_once(
        self, key: str, content: bytes, metadata: dict[str, str], if_absent: bool, if_match: str | None
    ) -> None: ...

    @abstractmethod
    def _put_in_parts(self, key: str, path: Path, metadata: dict[str, str]) -> None: ...

    @abstractmethod
    def _read(self, key: str) -> tuple[bytes, str]:
        """Content and etag."""

    @abstractmethod
    def _download(self, key: str, path: Path) -> None: ...

    @abstractmethod
    def _head(self, key: str) -> ObjectInfo: ...

    @abstractmethod
    def _says_too_little(self, error: Exception) -> bool:
        """Whether a HEAD was refused for a reason that only a GET is told."""

    @abstractmethod
    def _first_byte(self, key: str) -> ObjectInfo:
        """What `_head` finds, by a GET of no more than a byte."""

    @abstractmethod
    def _head_bucket(self) -> None: ...

    @abstractmethod
    def _pages(self, prefix: str) -> Iterator[Iterable[ObjectInfo]]: ...

    @abstractmethod
    def _delete(self, key: str) -> None: ...

    @abstractmethod
    def _copy(self, source: str, destination: str) -> None: ...

    @abstractmethod
    def _unfinished_uploads(self, prefix: str) -> Iterator[IncompleteUpload]:
        """At least those of objects below `prefix`."""

    @abstractmethod
    def _abort(self, upload: IncompleteUpload) -> None: ...

    @abstractmethod
    def _is_missing(self, error: Exception) -> bool:
        """Whether the server says that what was asked for does not exist."""

    @abstractmethod
    def _no_bucket(self) -> StoreDenied: ...

    @abstractmethod
    def _explain(self, error: Exception, key: str, *, conditional: bool) -> StoreError: ...

    def _looked_at(self, key: str) -> ObjectInfo:
        try:
            return self._head(key)
        except self.failures as error:
            if not self._says_too_little(error):
                raise
        return self._first_byte(key)

    def _full(self, key: str) -> str:
        return self._prefix + key

    def _key(self, name: str) -> str:
        return name.removeprefix(self._prefix)

    def _abort_unless_ended(self, upload: IncompleteUpload) -> None:
        try:
            self._abort(upload)
        except self.failures as error:
            # Somebody else may have completed or aborted it since it was listed.
            if not self._is_missing(error):
                raise

    def _require_bucket(self) -> None:
        """HEAD answers 404 without a word for a missing object and for a missing bucket alike."""
        if self._bucket_seen:
            return
        try:
            self._head_bucket()
            self._bucket_seen = True
        except self.failures as error:  # a user who may read objects need not be allowed to see the bucket
            if self._is_missing(error):
                raise self._no_bucket() from error

    @contextlib.contextmanager
    def _failures(self, key: str, *, conditional: bool = False) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except self.failures as error:
            if getattr(error, "errno", None) in DISK_FULL:
                raise disk_full(self.uri(key)) from error
            raise self._explain(error, key, conditional=conditional) from error


def read_secret(folder: Path | None, name: str, secret: SecretRef, wrong: str) -> str | None:
    """The text of a key of the Secret that is mounted in `folder`; None where there is none.

    Raises StoreDenied, with `wrong` as the end of its sentence for what is no ASCII.
    """
    if folder is None or not (folder / name).is_file():
        return None
    try:
        # Secrets made from files often end with a line break.
        return (folder / name).read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise StoreDenied(f"The key {name} of Secret {secret.name!r} is not readable for this user.") from error
    except UnicodeDecodeError:
        raise StoreDenied(f"The key {name} of Secret {secret.name!r} {wrong}.") from None


def says_too_little(status: int) -> bool:
    """Whether a HEAD that is answered with this HTTP status says less than a GET would."""
    return status in _WORDLESS


def whole_size(content_range: str | None, content_length: int) -> int:
    """Bytes of an object, by the answer to a GET of a part; a server that knows no parts sends the whole."""
    found = re.search(r"/([0-9]{1,18})$", content_range or "")
    return int(found[1]) if found else content_length


def content_md5(content: bytes) -> str:
    """As the header takes it: servers check what arrives by it."""
    # Some builds of OpenSSL refuse MD5 unless it is said that no secret depends on it.
    return base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
