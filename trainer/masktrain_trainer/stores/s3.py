"""S3 and everything that speaks its protocol, by boto3; what its failures mean, as one sentence for a person."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from boto3.exceptions import Boto3Error, RetriesExceededError
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointResolutionError,
    IncompleteReadError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
    ReadTimeoutError,
    ResponseStreamingError,
)

from masktrain_trainer.config import SecretRef, StoreSpec, plain_text, shown_text, shown_url
from masktrain_trainer.errors import (
    ConditionsUnsupported,
    ObjectMissing,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

from .base import ObjectInfo
from .remote import (
    IN_PARTS_FROM,
    MIB,
    PARALLEL_PARTS,
    PART,
    SHA256,
    IncompleteUpload,
    RemoteStore,
    content_md5,
    read_secret,
    says_too_little,
    whole_size,
)

FAILURES: Final = (BotoCoreError, Boto3Error, ClientError, OSError, ValueError)
"""All that boto3 raises; ValueError for addresses and names that it cannot make a request of."""

_MISSING: Final = {"404", "NoSuchKey", "NotFound"}
_CONDITION_UNKNOWN: Final = {"501", "NotImplemented", "InvalidArgument", "InvalidRequest"}
_NO_BUCKET: Final = "Bucket {bucket!r} does not exist at {endpoint}; create it or correct the URI."
_REFUSES: Final = "{endpoint} refuses access to {uri} ({code})"
_ANSWERS: Final[tuple[tuple[set[str], type[StoreError], str], ...]] = (
    ({"NoSuchBucket"}, StoreDenied, _NO_BUCKET),
    (_MISSING, ObjectMissing, "{uri} does not exist."),
    (
        # 409 is what AWS answers to the loser of two that create at the same time.
        {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"},
        PreconditionFailed,
        "{uri} was written by another writer.",
    ),
    (
        {"ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"},
        StoreDenied,
        f"{_REFUSES}: the session token has expired; renew it, with the keys that came with it.",
    ),
    (
        {"RequestTimeTooSkewed"},
        StoreDenied,
        f"{_REFUSES}: the clock here says {{here}}, the store's says {{there}}; set the clock of this machine.",
    ),
    (
        {"AccessDenied", "AllAccessDisabled"},
        StoreDenied,
        f"{_REFUSES}: these keys have no right to it; grant it, take other keys, or correct the URI.",
    ),
    (
        {"401", "403", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "Unauthorized"},
        StoreDenied,
        f"{_REFUSES}; check the Secret's keys.",
    ),
    (
        {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"},
        StoreDenied,
        "Bucket {bucket!r} is not in region {region!r}{but_in}; correct the store's region.",
    ),
    (
        {"InvalidObjectState", "NotRestored"},
        StoreDenied,
        "{uri} lies in an archive tier ({code}); restore it first, or store it again in the standard tier.",
    ),
    (
        {"429", "503", "RequestLimitExceeded", "ServiceUnavailable", "SlowDown", "Throttling", "TooManyRequests"},
        StoreUnavailable,
        "{endpoint} asks for fewer requests or has too much to do ({code}), when asked for {uri}; this may pass.",
    ),
)
_READS: Final = {"GetObject", "HeadObject"}
_PASSING_STATUS: Final = {408, 409, 425, 429}


@dataclass(frozen=True)
class Target:
    """What a request was about."""

    endpoint: str
    region: str
    bucket: str
    uri: str
    conditional: bool = False


def explain(error: Exception, target: Target) -> StoreError:
    """The store's error for what boto3 raised."""
    cause = _root_cause(error)
    if isinstance(cause, ClientError):
        return _explain_answer(cause, target)
    if isinstance(cause, (NoCredentialsError, PartialCredentialsError, ProfileNotFound)):
        return StoreDenied(f"No credentials for {target.endpoint}: set the store's credentialsSecretRef.")
    if isinstance(cause, (IncompleteReadError, ResponseStreamingError)):
        return StoreUnavailable(
            f"{target.uri} is cut off before its end by {target.endpoint}, or by a proxy before it; this may pass."
        )
    if isinstance(cause, ReadTimeoutError):
        return StoreUnavailable(
            f"{target.endpoint} takes requests and sends nothing back, when asked for {target.uri}; this may pass."
        )
    if isinstance(cause, (ParamValidationError, EndpointResolutionError, ValueError)):
        return StoreDenied(f"{target.uri} at {target.endpoint} is no valid address: {_one_line(cause)}")
    return StoreUnavailable(f"{target.uri} at {target.endpoint} could not be reached: {_one_line(cause)}")


def no_bucket(target: Target) -> StoreDenied:
    """The answer to a HEAD names no bucket, so its caller has to find out."""
    return StoreDenied(_NO_BUCKET.format(**vars(target)))


def is_missing(error: Exception) -> bool:
    """Whether the server says that there is no such object, bucket or unfinished upload."""
    return isinstance(error, ClientError) and _code(error) in _MISSING | {"NoSuchBucket", "NoSuchUpload"}


def _explain_answer(error: ClientError, target: Target) -> StoreError:
    code = _code(error)
    if code in _CONDITION_UNKNOWN and target.conditional:
        return ConditionsUnsupported(f"{target.endpoint} does not support conditional writes.")
    # The answer to If-Match where the object was deleted meanwhile.
    if code in _MISSING and target.conditional:
        return PreconditionFailed(f"{target.uri} was deleted by another writer.")
    if _is_web_page(error):
        return _explain_page(error, target)
    if code in ("400", "403") and _region(error) not in (None, target.region):
        code = "301"
    for codes, kind, sentence in _ANSWERS:
        if code in codes:
            return kind(sentence.format(**_facts(error, code, target), **vars(target)))
    # Writes keep their second chance: what arrived damaged is refused with 400, too.
    if error.operation_name in _READS and _status(error) >= 400 and not _may_pass(error):
        message = _one_line(str(error.response.get("Error", {}).get("Message", "")))
        return StoreDenied(f"{target.endpoint} does not accept what is asked of {target.uri} ({code}): {message}")
    return StoreUnavailable(f"{target.endpoint} failed for {target.uri}: {_one_line(error)}")


def _may_pass(error: ClientError) -> bool:
    return _status(error) >= 500 or _status(error) in _PASSING_STATUS or _code(error) == "RequestTimeout"


def _facts(error: ClientError, code: str, target: Target) -> dict[str, str]:
    """What only this answer says."""
    region = _region(error)
    but_in = f" but in {region!r}" if region not in (None, target.region) else ""
    here = datetime.now(UTC)
    return {"code": code, "but_in": but_in, "here": f"{here:%F %T} UTC", "there": _time_there(error)}


def _region(error: ClientError) -> str | None:
    """Of the bucket, as the answer names it: in a header, in the body, or in the sentence there."""
    words = error.response.get("Error", {})
    said = _headers(error).get("x-amz-bucket-region") or words.get("Region")
    found = re.search(r"expecting '([a-z0-9-]{1,64})'", str(words.get("Message", "")))
    return plain_text(str(said), 64) if said else found[1] if found else None


def _time_there(error: ClientError) -> str:
    """By the store's clock."""
    readers: tuple[tuple[object, Callable[[str], datetime]], ...] = (
        (error.response.get("Error", {}).get("ServerTime"), datetime.fromisoformat),
        (_headers(error).get("date"), parsedate_to_datetime),
    )
    for text, read in readers:
        try:
            return f"{read(str(text)).astimezone(UTC):%F %T} UTC"
        except (ValueError, OverflowError):
            continue
    return "another time"


def _is_web_page(error: ClientError) -> bool:
    """An error in HTML, in which no code was found: a console answers so, a login page or a proxy."""
    html = _headers(error).get("content-type", "").lower().startswith(("text/html", "application/xhtml"))
    return html and _status(error) != 404 and (not _code(error) or _code(error).isdigit())


def _explain_page(error: ClientError, target: Target) -> StoreError:
    said = f"{target.endpoint} answers with a web page ({_status(error)}) when asked for {target.uri}"
    if _may_pass(error):
        return StoreUnavailable(f"{said}, as proxies do whose store is gone; this may pass.")
    return StoreDenied(
        f"{said}: this is the address of a console or of a proxy; set the store's endpoint to that of its S3 API."
    )


def _root_cause(error: Exception) -> Exception:
    """boto3 wraps a transfer's failure in an error of its own, without a code."""
    if isinstance(error, RetriesExceededError):
        inner: object = vars(error)["last_exception"]
    else:
        inner = error.__cause__ or error.__context__
    return inner if isinstance(error, Boto3Error) and isinstance(inner, Exception) else error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))


def _headers(error: ClientError) -> dict[str, str]:
    """With names in lower case."""
    return dict(error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {}))


_LONGEST_WORDS: Final = 300


def _one_line(words: Exception | str) -> str:
    text = plain_text(" ".join(str(words).split()).rstrip("."), _LONGEST_WORDS) + "."
    return shown_text(text)


if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import ObjectTypeDef


ACCESS_KEY = "AWS_ACCESS_KEY_ID"
SECRET_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a key
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105
_NO_KEY: Final = "holds characters that no access key has"
_REGION: Final = "us-east-1"
"""What servers other than AWS expect signatures to name, and the region of AWS that knows all buckets."""
_CONFIG: Final = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},
    # boto3's own default is checksums in trailers of chunked bodies, which Oracle's S3 endpoint and others refuse.
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    tcp_keepalive=True,
    # In the path, because few servers besides AWS have a host name for each bucket. Signed, because parts of a large
    # file carry no MD5, and the signature is then what the server checks them by.
    s3={"addressing_style": "path", "payload_signing_enabled": True},
)
_READING: Final = _CONFIG.merge(Config(read_timeout=20))
"""Nothing that is read needs longer to begin, while the parts of an upload may take a minute to become one object: so a
store that hangs is known in a minute and a half."""
_TRANSFER: Final = TransferConfig(
    multipart_threshold=IN_PARTS_FROM,
    multipart_chunksize=PART,
    max_concurrency=PARALLEL_PARTS,
    # Each of them waits for as long as a HEAD may.
    num_download_attempts=3,
)
_LONG_AGO: Final = datetime.fromtimestamp(0, UTC)
_COPY: Final = TransferConfig(multipart_threshold=5 * 1024 * MIB)
"""One request copies up to 5 GiB, and only that takes the metadata along."""


@dataclass(frozen=True)
class Credentials:
    """Left empty, boto3's own chain decides (environment, web identity, instance). The secret part is never shown."""

    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r})"


def read_credentials(spec: StoreSpec, folder: Path | None) -> Credentials:
    """The keys of the Secret that `spec` names. Raises StoreDenied if they are not there or cannot be keys."""
    secret = spec.credentials_secret_ref
    if secret is None:
        return Credentials()
    found = {name: _key(folder, name, secret) for name in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)}
    missing = [name for name in (ACCESS_KEY, SECRET_KEY) if found[name] is None]
    if missing:
        raise StoreDenied(
            f"Secret {secret.name!r} does not exist or lacks the key {' and '.join(missing)}; "
            f"create it with the keys {ACCESS_KEY} and {SECRET_KEY}."
        )
    return Credentials(found[ACCESS_KEY], found[SECRET_KEY], found[SESSION_TOKEN])


def _key(folder: Path | None, name: str, secret: SecretRef) -> str | None:
    value = read_secret(folder, name, secret, _NO_KEY)
    if value and (not value.isprintable() or " " in value):
        raise StoreDenied(f"The key {name} of Secret {secret.name!r} {_NO_KEY}.")
    return value or None


def open_s3(bucket: str, prefix: str, spec: StoreSpec, credentials: Path | None) -> "S3Store":
    """The store of a bucket's prefix. Raises StoreDenied if the Secret lacks its keys."""
    keys = read_credentials(spec, credentials)
    try:
        client, reader = _client(spec, keys, _CONFIG), _client(spec, keys, _READING)
    except FAILURES as error:
        target = Target(shown_url(spec.endpoint or "AWS"), spec.region or _REGION, bucket, f"s3://{bucket}/{prefix}")
        raise explain(error, target) from error
    return S3Store(client, reader, bucket, prefix)


class S3Store(RemoteStore):
    """Objects below `prefix` of one bucket."""

    failures = FAILURES

    def __init__(self, client: "S3Client", reader: "S3Client", bucket: str, prefix: str) -> None:
        super().__init__(prefix)
        self._client = client
        self._reader = reader
        self._bucket = bucket

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._full(key)}"

    def _put_at_once(
        self, key: str, content: bytes, metadata: dict[str, str], if_absent: bool, if_match: str | None
    ) -> None:
        # boto3 takes no parameter that is None.
        conditions = ({"IfNoneMatch": "*"} if if_absent else {}) | (
            {"IfMatch": if_match} if if_match is not None else {}
        )
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._full(key),
            Body=content,
            ContentMD5=content_md5(content),
            Metadata=metadata,
            **conditions,  # type: ignore[arg-type]
        )

    def _put_in_parts(self, key: str, path: Path, metadata: dict[str, str]) -> None:
        extra = {"Metadata": metadata}
        self._client.upload_file(str(path), self._bucket, self._full(key), ExtraArgs=extra, Config=_TRANSFER)

    def _read(self, key: str) -> tuple[bytes, str]:
        found = self._reader.get_object(Bucket=self._bucket, Key=self._full(key))
        return found["Body"].read(), found["ETag"]

    def _download(self, key: str, path: Path) -> None:
        self._reader.download_file(self._bucket, self._full(key), str(path), Config=_TRANSFER)

    def _head(self, key: str) -> ObjectInfo:
        return self._info(key, self._reader.head_object(Bucket=self._bucket, Key=self._full(key)))

    def _says_too_little(self, error: Exception) -> bool:
        return isinstance(error, ClientError) and says_too_little(_status(error))

    def _first_byte(self, key: str) -> ObjectInfo:
        found = self._reader.get_object(Bucket=self._bucket, Key=self._full(key), Range="bytes=0-0")
        found["Body"].close()
        return self._info(key, found)

    def _info(self, key: str, found: Mapping[str, Any]) -> ObjectInfo:
        if "ETag" not in found or "ContentLength" not in found:
            raise StoreDenied(
                f"{self._target(key, conditional=False).endpoint} answers, but not as S3 does, when asked for "
                f"{self.uri(key)}; set the store's endpoint to that of its S3 API."
            )
        size = whole_size(found.get("ContentRange"), found["ContentLength"])
        modified = found.get("LastModified", _LONG_AGO)
        return ObjectInfo(key, size, found["ETag"], found.get("Metadata", {}).get(SHA256), modified)

    def _head_bucket(self) -> None:
        self._reader.head_bucket(Bucket=self._bucket)

    def _pages(self, prefix: str) -> Iterator[list[ObjectInfo]]:
        pages = self._client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._full(prefix)):
            yield [self._listed(entry) for entry in page.get("Contents", [])]

    def _listed(self, entry: "ObjectTypeDef") -> ObjectInfo:
        modified = entry.get("LastModified", _LONG_AGO)
        return ObjectInfo(self._key(entry["Key"]), entry["Size"], entry.get("ETag", ""), None, modified)

    def _delete(self, key: str) -> None:
        self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def _copy(self, source: str, destination: str) -> None:
        origin: Any = {"Bucket": self._bucket, "Key": self._full(source)}
        self._client.copy(origin, self._bucket, self._full(destination), Config=_COPY)

    def _unfinished_uploads(self, prefix: str) -> Iterator[IncompleteUpload]:
        pages = self._client.get_paginator("list_multipart_uploads")
        for page in pages.paginate(Bucket=self._bucket, Prefix=self._full(prefix)):
            for upload in page.get("Uploads", []):
                yield IncompleteUpload(upload["Key"], upload["UploadId"], upload.get("Initiated"))

    def _abort(self, upload: IncompleteUpload) -> None:
        self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload.name, UploadId=upload.id)

    def _is_missing(self, error: Exception) -> bool:
        return is_missing(error)

    def _no_bucket(self) -> StoreDenied:
        return no_bucket(self._target("", conditional=False))

    def _explain(self, error: Exception, key: str, *, conditional: bool) -> StoreError:
        return explain(error, self._target(key, conditional=conditional))

    def _target(self, key: str, *, conditional: bool) -> Target:
        meta = self._client.meta
        return Target(shown_url(meta.endpoint_url), meta.region_name, self._bucket, self.uri(key), conditional)


def _client(spec: StoreSpec, keys: Credentials, config: Config) -> "S3Client":
    return boto3.client(
        "s3",
        endpoint_url=spec.endpoint,
        region_name=spec.region or _REGION,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.session_token,
        config=config,
    )
