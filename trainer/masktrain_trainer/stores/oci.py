"""Oracle's Object Storage by its own API, which needs no second kind of key: a node may sign as the instance it is."""

import base64
import contextlib
import hashlib
import io
import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from oci.circuit_breaker import NoCircuitBreakerStrategy
from oci.exceptions import ClientError, ServiceError
from oci.object_storage import ObjectStorageClient, UploadManager
from oci.pagination import list_call_get_all_results_generator
from oci.retry import NoneRetryStrategy

from masktrain_trainer.config import StoreSpec
from masktrain_trainer.errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreError, StoreUnavailable
from masktrain_trainer.files import sha256_of

from .base import ObjectInfo, conditional_writes_work
from .oci_login import TIMEOUTS_SECONDS, log_in, retry_strategy

FAILURES: Final = (ServiceError, ClientError, OSError, ValueError)
"""All that the SDK raises: OSError covers its timeouts, ValueError names that it makes no request of."""

_OBJECT_MISSING: Final = {None, "", "None", "ObjectNotFound"}
"""Codes of a 404: the answer to a HEAD has no body, and so none."""

_UNCLEAR: Final = -1
"""The SDK's status of an answer that it could not make out."""


@dataclass(frozen=True)
class OciTarget:
    """What a request was about; `bucket` is `bucket@namespace`."""

    endpoint: str
    bucket: str
    uri: str
    conditional: bool = False


def explain(error: Exception, target: OciTarget) -> StoreError:
    """The store's error for what the SDK raised. Its own text is left out: it fills a page, and may quote keys."""
    if isinstance(error, ServiceError):
        return _explain_answer(error, target)
    if isinstance(error, (ClientError, ValueError)) and not isinstance(error, OSError):
        return StoreDenied(f"{target.uri} at {target.endpoint} is no valid address ({type(error).__name__}).")
    return StoreUnavailable(f"{target.uri} at {target.endpoint} could not be reached: {_cause(error)}.")


def no_bucket(target: OciTarget) -> StoreDenied:
    """Oracle does not tell a bucket that is missing from one that may not be seen."""
    return StoreDenied(
        f"Bucket {target.bucket!r} does not exist at {target.endpoint}, or no policy lets these credentials see it; "
        "correct the URI, the region or the policy."
    )


def is_missing(error: Exception) -> bool:
    return isinstance(error, ServiceError) and error.status == 404


def _explain_answer(error: ServiceError, target: OciTarget) -> StoreError:
    status, code = int(error.status), error.code
    answer = f"{status} {code}" if code else str(status)
    if status == 404 and code not in _OBJECT_MISSING:
        return no_bucket(target)
    if status == 412 or (target.conditional and status in (404, 409)):
        return PreconditionFailed(f"{target.uri} was written by another writer.")
    if status == 404:
        return ObjectMissing(f"{target.uri} does not exist.")
    if status in (401, 403):
        return StoreDenied(
            f"{target.endpoint} refuses access to {target.uri} ({answer}); "
            "check the store's credentials, its policies and the clock."
        )
    if status in (409, 429, _UNCLEAR) or status >= 500:
        return StoreUnavailable(f"{target.endpoint} failed for {target.uri}: {answer}.")
    return StoreDenied(f"{target.endpoint} does not accept what is asked of {target.uri} ({answer}).")


def _cause(error: BaseException) -> str:
    """What the socket said, below all that urllib3, requests and the SDK wrapped around it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(getattr(error, "strerror", None) or type(error).__name__)


_MIB: Final = 1 << 20
_IN_PARTS_FROM: Final = 64 * _MIB
_PART: Final = 16 * _MIB
_MOST_PARTS: Final = 9_000  # the service takes 10,000
_PARALLEL_PARTS: Final = 4
_SHA256: Final = "sha256"


def open_oci(bucket: str, namespace: str, prefix: str, spec: StoreSpec, credentials: Path | None) -> "OciStore":
    """The store of a bucket's prefix. Raises StoreDenied without usable credentials, StoreUnavailable."""
    login = log_in(spec, credentials)
    try:
        client = ObjectStorageClient(
            login.config,
            signer=login.signer,
            service_endpoint=spec.endpoint,
            timeout=TIMEOUTS_SECONDS,
            retry_strategy=retry_strategy(),
            circuit_breaker_strategy=NoCircuitBreakerStrategy(),
        )
    except FAILURES as error:
        target = OciTarget(spec.endpoint or "Oracle", f"{bucket}@{namespace}", f"oci://{bucket}@{namespace}/{prefix}")
        raise explain(error, target) from error
    return OciStore(client, bucket, namespace, prefix)


class OciStore:
    """Objects below `prefix` of one bucket."""

    def __init__(self, client: ObjectStorageClient, bucket: str, namespace: str, prefix: str) -> None:
        self._client = client
        self._place = (namespace, bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket_seen = False
        self._retries = retry_strategy()
        self._uploads = UploadManager(client, parallel_process_count=_PARALLEL_PARTS)

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        conditions = _conditions(if_absent, if_match)
        if isinstance(body, Path) and conditions:
            raise ValueError("conditions go with bytes only")
        with self._failures(key, conditional=bool(conditions)):
            metadata = {_SHA256: sha256 or sha256_of(body)}
            if isinstance(body, Path) and body.stat().st_size >= _IN_PARTS_FROM:
                self._put_in_parts(key, body, metadata)
            else:
                content = body if isinstance(body, bytes) else body.read_bytes()
                self._put_at_once(key, content, metadata, conditions)
        found = self.head(key)
        if found is None:
            raise StoreUnavailable(f"{self.uri(key)} was written but is not there.")
        return found

    def read(self, key: str) -> bytes:
        return self.read_with_etag(key)[0]

    def read_with_etag(self, key: str) -> tuple[bytes, str]:
        content = io.BytesIO()
        with self._failures(key):
            etag = self._fetch(key, content)
        return content.getvalue(), etag

    def download(self, key: str, path: Path) -> ObjectInfo:
        info = self.head(key)
        if info is None:
            raise ObjectMissing(f"{self.uri(key)} does not exist.")
        with self._failures(key), path.open("wb") as file:
            self._fetch(key, file)
        return info

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._failures(key):
                headers = self._client.head_object(*self._place, self._full(key)).headers
        except ObjectMissing:
            self._require_bucket()
            return None
        self._bucket_seen = True
        modified = parsedate_to_datetime(headers["last-modified"])
        sha256 = headers.get(f"opc-meta-{_SHA256}")
        return ObjectInfo(key, int(headers["content-length"]), headers["etag"], sha256, modified)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        start: str | None = ""
        while start is not None:
            with self._failures(prefix):
                page = self._page(prefix, start)
            for entry in page.objects:
                key = entry.name.removeprefix(self._prefix)
                modified = entry.time_modified or datetime.fromtimestamp(0, UTC)
                yield ObjectInfo(key, entry.size, entry.etag or "", None, modified)
            start = page.next_start_with

    def delete(self, key: str) -> None:
        with contextlib.suppress(ObjectMissing), self._failures(key):
            self._client.delete_object(*self._place, self._full(key))

    def copy(self, source: str, destination: str) -> None:
        """By way of this machine: the service's own copy runs later, and only under a policy for the service itself."""
        with tempfile.NamedTemporaryFile() as file:
            info = self.download(source, Path(file.name))
            self.put(destination, Path(file.name), sha256=info.sha256)

    def discard_unfinished(self, prefix: str, *, before: datetime | None = None) -> None:
        with self._failures(prefix):
            uploads = list_call_get_all_results_generator(self._client.list_multipart_uploads, "record", *self._place)
            for upload in list(uploads):  # all before the first is gone: a page may be counted from the start
                old = before is None or upload.time_created < before
                if old and upload.object.startswith(self._full(prefix)):
                    self._abort(upload.object, upload.upload_id)

    def uri(self, key: str) -> str:
        namespace, bucket = self._place
        return f"oci://{bucket}@{namespace}/{self._full(key)}"

    def honours_conditional_writes(self) -> bool:
        return conditional_writes_work(self)

    def _full(self, key: str) -> str:
        return self._prefix + key

    def _put_at_once(self, key: str, content: bytes, metadata: dict[str, str], conditions: dict[str, str]) -> None:
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        self._client.put_object(
            *self._place, self._full(key), content, content_md5=md5, opc_meta=metadata, **conditions
        )

    def _put_in_parts(self, key: str, path: Path, metadata: dict[str, str]) -> None:
        """The checksum is asked for because the SDK sends parts of files without their MD5, whatever it documents."""
        self._uploads.upload_file(
            *self._place,
            self._full(key),
            str(path),
            part_size=max(_PART, math.ceil(path.stat().st_size / _MOST_PARTS)),
            metadata=metadata,
            opc_checksum_algorithm="SHA256",
        )

    def _fetch(self, key: str, sink: BinaryIO) -> str:
        """Write the object to `sink`, from the start again if the connection ends early; its etag."""

        def attempt() -> str:
            sink.seek(0)
            sink.truncate()
            answer = self._client.get_object(*self._place, self._full(key), retry_strategy=NoneRetryStrategy())
            try:
                sink.writelines(answer.data.iter_content(_MIB))
            except OSError as error:
                if error.errno is None:  # not the disk's, and of no kind that the SDK would try again by itself
                    raise ConnectionResetError from error
                raise
            return str(answer.headers["etag"])

        return str(self._retries.make_retrying_call(attempt))

    def _page(self, prefix: str, start: str) -> Any:
        fields = "name,size,etag,timeModified"
        return self._client.list_objects(*self._place, prefix=self._full(prefix), start=start, fields=fields).data

    def _abort(self, name: str, upload_id: str) -> None:
        try:
            self._client.abort_multipart_upload(*self._place, name, upload_id)
        except FAILURES as error:
            if not is_missing(error):  # it has just ended
                raise

    def _require_bucket(self) -> None:
        """HEAD answers 404 without a word for a missing object and for a missing bucket alike."""
        if self._bucket_seen:
            return
        try:
            with self._failures(""):
                self._client.head_bucket(*self._place)
            self._bucket_seen = True
        except ObjectMissing as error:
            raise no_bucket(self._target("")) from error
        except StoreError:  # a user who may read objects need not be allowed to see the bucket
            return

    @contextlib.contextmanager
    def _failures(self, key: str, *, conditional: bool = False) -> Iterator[None]:
        try:
            yield
        except StoreError:
            raise
        except FAILURES as error:
            raise explain(error, self._target(key, conditional=conditional)) from error

    def _target(self, key: str, *, conditional: bool = False) -> OciTarget:
        namespace, bucket = self._place
        return OciTarget(self._client.base_client.endpoint, f"{bucket}@{namespace}", self.uri(key), conditional)


def _conditions(if_absent: bool, if_match: str | None) -> dict[str, str]:
    return ({"if_none_match": "*"} if if_absent else {}) | ({"if_match": if_match} if if_match is not None else {})
