"""Oracle's Object Storage by its own API, which needs no second kind of key: a node may sign as the instance it is.

The SDK tries by itself as long as the one for S3: a checkpoint comes back anyway, with newer weights.
"""

import io
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from oci.circuit_breaker import NoCircuitBreakerStrategy
from oci.exceptions import ClientError, ConnectTimeout, ServiceError
from oci.object_storage import ObjectStorageClient, UploadManager
from oci.pagination import list_call_get_all_results_generator
from oci.retry import NoneRetryStrategy

from masktrain_trainer.config import StoreSpec, shown_url
from masktrain_trainer.errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreError, StoreUnavailable

from .base import ObjectInfo
from .oci_login import Login, log_in, retry_strategy
from .remote import (
    MIB,
    PARALLEL_PARTS,
    PART,
    SHA256,
    IncompleteUpload,
    RemoteStore,
    content_md5,
    says_too_little,
    whole_size,
)

FAILURES: Final = (ServiceError, ClientError, OSError, ValueError, RuntimeError)
"""All that the SDK raises: OSError covers its timeouts, ValueError names that it makes no request of, RuntimeError a
token that cannot be renewed."""

_OBJECT_MISSING: Final = {None, "", "None", "ObjectNotFound"}
"""Codes of a 404: the answer to a HEAD has no body, and so none."""

_ARCHIVED: Final = {"InvalidObjectState", "NotRestored"}
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
    if isinstance(error, _EndsEarly):
        return StoreUnavailable(
            f"{target.uri} is cut off before its end by {target.endpoint}, or by a proxy before it; this may pass."
        )
    if isinstance(error, (ClientError, ValueError)) and not isinstance(error, OSError):
        return StoreDenied(f"{target.uri} at {target.endpoint} is no valid address ({type(error).__name__}).")
    if isinstance(_innermost(error), TimeoutError) and not isinstance(error, ConnectTimeout):
        return StoreUnavailable(
            f"{target.endpoint} takes requests and sends nothing back, when asked for {target.uri}; this may pass."
        )
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
    if status == 404 and code not in _OBJECT_MISSING:
        return no_bucket(target)
    # Under a condition a 404 says that the object is gone by now, and a 409 that another writer is at work on it.
    if status == 412 or (target.conditional and status in (404, 409)):
        return PreconditionFailed(f"{target.uri} was written by another writer.")
    if status == 404:
        return ObjectMissing(f"{target.uri} does not exist.")
    if str(_header(error, "content-type")).startswith("text/html"):
        return _explain_page(status, target)
    return _explain_refusal(error, f"{status} {code}" if code else str(status), target)


def _explain_refusal(error: ServiceError, answer: str, target: OciTarget) -> StoreError:
    status = int(error.status)
    if error.code in _ARCHIVED:
        return StoreDenied(
            f"{target.uri} lies in an archive tier ({answer}); restore it first, or store it again in the standard "
            "tier."
        )
    if status in (401, 403):
        return StoreDenied(f"{target.endpoint} refuses access to {target.uri} ({answer}){_what_to_check(error)}")
    if status in (429, 503):
        return StoreUnavailable(
            f"{target.endpoint} asks for fewer requests or has too much to do ({answer}), when asked for {target.uri}; "
            "this may pass."
        )
    if status in (409, _UNCLEAR) or status >= 500:
        return StoreUnavailable(f"{target.endpoint} failed for {target.uri}: {answer}.")
    return StoreDenied(f"{target.endpoint} does not accept what is asked of {target.uri} ({answer}).")


def _what_to_check(error: ServiceError) -> str:
    """As the end of a sentence."""
    if "clock skew" not in str(error.message).lower():
        return "; check the store's credentials, its policies and the clock."
    here = f"{datetime.now(UTC):%F %T} UTC"
    try:
        there = f"{parsedate_to_datetime(str(_header(error, 'date'))).astimezone(UTC):%F %T} UTC"
    except ValueError:
        there = "another time"
    return f": the clock here says {here}, the store's says {there}; set the clock of this machine."


def _explain_page(status: int, target: OciTarget) -> StoreError:
    """An answer in HTML is that of a console, a login or a proxy."""
    said = f"{target.endpoint} answers with a web page ({status}) when asked for {target.uri}"
    if status == 429 or status >= 500:
        return StoreUnavailable(f"{said}, as proxies do whose store is gone; this may pass.")
    return StoreDenied(
        f"{said}: this is the address of a console or of a proxy; set the store's endpoint to that of Object Storage."
    )


def _header(error: ServiceError, name: str) -> str | None:
    return (error.headers or {}).get(name)


class _EndsEarly(ConnectionResetError):
    """A body that is cut off: the kind of error that the SDK tries again."""


def _cause(error: BaseException) -> str:
    """What the socket said, below all that urllib3, requests and the SDK wrapped around it."""
    inner = _innermost(error)
    return str(getattr(inner, "strerror", None) or type(inner).__name__)


def _innermost(error: BaseException) -> BaseException:
    while error.__context__ is not None:
        error = error.__context__
    return error


TIMEOUTS_SECONDS: Final = (5.0, 60.0)
"""Of the connection, and of each read from it."""

READING_SECONDS: Final = (5.0, 20.0)
"""Nothing that is read needs longer to begin: a store that hangs is known in a minute and a half."""

_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)
_MOST_PARTS: Final = 9_000  # the service takes 10,000


def open_oci(bucket: str, namespace: str, prefix: str, spec: StoreSpec, credentials: Path | None) -> "OciStore":
    """The store of a bucket's prefix. Raises StoreDenied without usable credentials, StoreUnavailable."""
    login = log_in(spec, credentials)
    try:
        client, reader = (_client(spec, login, timeout) for timeout in (TIMEOUTS_SECONDS, READING_SECONDS))
    except FAILURES as error:
        target = OciTarget(
            shown_url(spec.endpoint or "Oracle"), f"{bucket}@{namespace}", f"oci://{bucket}@{namespace}/{prefix}"
        )
        raise explain(error, target) from error
    return OciStore(client, reader, bucket, namespace, prefix)


def _client(spec: StoreSpec, login: Login, timeout: tuple[float, float]) -> ObjectStorageClient:
    return ObjectStorageClient(
        login.config,
        signer=login.signer,
        service_endpoint=spec.endpoint,
        timeout=timeout,
        retry_strategy=retry_strategy(),
        # The SDK's breaker would go on refusing for 30 s after the service is back.
        circuit_breaker_strategy=NoCircuitBreakerStrategy(),
    )


class OciStore(RemoteStore):
    """Objects below `prefix` of one bucket."""

    failures = FAILURES

    def __init__(
        self, client: ObjectStorageClient, reader: ObjectStorageClient, bucket: str, namespace: str, prefix: str
    ) -> None:
        super().__init__(prefix)
        self._client = client
        self._reader = reader
        self._place = (namespace, bucket)
        self._retries = retry_strategy()
        self._uploads = UploadManager(client, parallel_process_count=PARALLEL_PARTS)

    def uri(self, key: str) -> str:
        namespace, bucket = self._place
        return f"oci://{bucket}@{namespace}/{self._full(key)}"

    def _put_at_once(
        self, key: str, content: bytes, metadata: dict[str, str], if_absent: bool, if_match: str | None
    ) -> None:
        conditions = ({"if_none_match": "*"} if if_absent else {}) | (
            {"if_match": if_match} if if_match is not None else {}
        )
        self._client.put_object(
            *self._place, self._full(key), content, content_md5=content_md5(content), opc_meta=metadata, **conditions
        )

    def _put_in_parts(self, key: str, path: Path, metadata: dict[str, str]) -> None:
        """The checksum is asked for because the SDK sends parts of files without their MD5, whatever it documents."""
        self._uploads.upload_file(
            *self._place,
            self._full(key),
            str(path),
            part_size=max(PART, math.ceil(path.stat().st_size / _MOST_PARTS)),
            metadata=metadata,
            opc_checksum_algorithm="SHA256",
        )

    def _read(self, key: str) -> tuple[bytes, str]:
        content = io.BytesIO()
        etag = self._fetch(key, content)
        return content.getvalue(), etag

    def _download(self, key: str, path: Path) -> None:
        with path.open("wb") as file:
            self._fetch(key, file)

    def _fetch(self, key: str, sink: BinaryIO) -> str:
        """Write the object to `sink`, from the start again if the connection ends early; its etag."""

        def attempt() -> str:
            sink.seek(0)
            sink.truncate()
            # The whole of it is tried again below: retries within would multiply, and do not cover the body.
            answer = self._reader.get_object(*self._place, self._full(key), retry_strategy=NoneRetryStrategy())
            try:
                sink.writelines(answer.data.iter_content(MIB))
            except OSError as error:
                if error.errno is None:  # not the disk's, and of no kind that the SDK would try again by itself
                    raise _EndsEarly from error
                raise
            return str(answer.headers["etag"])

        return str(self._retries.make_retrying_call(attempt))

    def _head(self, key: str) -> ObjectInfo:
        return self._info(key, self._reader.head_object(*self._place, self._full(key)).headers)

    def _says_too_little(self, error: Exception) -> bool:
        return isinstance(error, ServiceError) and says_too_little(int(error.status))

    def _first_byte(self, key: str) -> ObjectInfo:
        answer = self._reader.get_object(*self._place, self._full(key), range="bytes=0-0")
        answer.data.close()
        return self._info(key, answer.headers)

    def _info(self, key: str, headers: Mapping[str, str]) -> ObjectInfo:
        if "etag" not in headers or "content-length" not in headers:
            raise StoreDenied(
                f"{self._target(key, conditional=False).endpoint} answers, but not as Object Storage does, when asked "
                f"for {self.uri(key)}; correct the store's endpoint."
            )
        size = whole_size(headers.get("content-range"), int(headers["content-length"]))
        said = headers.get("last-modified")
        modified = parsedate_to_datetime(said) if said else _LONG_AGO
        return ObjectInfo(key, size, headers["etag"], headers.get(f"opc-meta-{SHA256}"), modified)

    def _head_bucket(self) -> None:
        self._reader.head_bucket(*self._place)

    def _pages(self, prefix: str) -> Iterator[list[ObjectInfo]]:
        # Without `fields` the service answers with names alone. An empty `start` is a name, and one that nobody has.
        start: dict[str, str] = {}
        fields = "name,size,etag,timeModified"
        while True:
            answer = self._client.list_objects(*self._place, prefix=self._full(prefix), fields=fields, **start)
            yield [self._listed(entry) for entry in answer.data.objects]
            if answer.data.next_start_with is None:
                return
            start = {"start": answer.data.next_start_with}

    def _listed(self, entry: Any) -> ObjectInfo:
        modified = entry.time_modified or _LONG_AGO
        return ObjectInfo(self._key(entry.name), entry.size, entry.etag or "", None, modified)

    def _delete(self, key: str) -> None:
        self._client.delete_object(*self._place, self._full(key))

    def _copy(self, source: str, destination: str) -> None:
        """By way of this machine: the service's own copy runs later, and only under a policy for the service itself."""
        with tempfile.NamedTemporaryFile() as file:
            info = self.download(source, Path(file.name))
            self.put(destination, Path(file.name), sha256=info.sha256)

    def _unfinished_uploads(self, prefix: str) -> Iterator[IncompleteUpload]:  # noqa: ARG002
        """Of the whole bucket: the service takes no prefix."""
        uploads = list_call_get_all_results_generator(self._client.list_multipart_uploads, "record", *self._place)
        for upload in uploads:
            yield IncompleteUpload(upload.object, upload.upload_id, upload.time_created)

    def _abort(self, upload: IncompleteUpload) -> None:
        self._client.abort_multipart_upload(*self._place, upload.name, upload.id)

    def _is_missing(self, error: Exception) -> bool:
        return is_missing(error)

    def _no_bucket(self) -> StoreDenied:
        return no_bucket(self._target("", conditional=False))

    def _explain(self, error: Exception, key: str, *, conditional: bool) -> StoreError:
        return explain(error, self._target(key, conditional=conditional))

    def _target(self, key: str, *, conditional: bool) -> OciTarget:
        namespace, bucket = self._place
        return OciTarget(
            shown_url(self._client.base_client.endpoint), f"{bucket}@{namespace}", self.uri(key), conditional
        )
