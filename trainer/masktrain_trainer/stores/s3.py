"""S3 and everything that speaks its protocol, by boto3.

The settings are the ones that servers other than AWS need: no `aws-chunked` bodies (checksums only when required),
path-style addresses, Content-MD5 on every single PUT.
"""

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from masktrain_trainer.config import StoreSpec

from .base import ObjectInfo
from .credentials import read_credentials
from .errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreError, StoreUnavailable
from .probe import conditional_writes_work

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CONFIG: Final = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"mode": "standard", "total_max_attempts": 4},
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    s3={"addressing_style": "path"},
)
_TRANSFER: Final = TransferConfig(multipart_threshold=64 << 20, multipart_chunksize=16 << 20, max_concurrency=4)
_DENIED: Final = {"403", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"}
_MISSING: Final = {"404", "NoSuchKey", "NotFound"}
_CONDITION: Final = {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"}


def open_s3(bucket: str, prefix: str, spec: StoreSpec, credentials: Path | None) -> "S3Store":
    """The store of a bucket's prefix. Raises StoreDenied if the Secret lacks its keys."""
    keys = read_credentials(spec, credentials)
    client = boto3.client(
        "s3",
        endpoint_url=spec.endpoint,
        region_name=spec.region,
        aws_access_key_id=keys.access_key,
        aws_secret_access_key=keys.secret_key,
        aws_session_token=keys.session_token,
        config=_CONFIG,
    )
    return S3Store(client, bucket, prefix)


class S3Store:
    """Objects below `prefix` of one bucket."""

    def __init__(self, client: "S3Client", bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""

    def put(
        self,
        key: str,
        body: bytes | Path,
        *,
        sha256: str | None = None,
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> ObjectInfo:
        digest = sha256 or _sha256(body)
        with self._failures(key):
            if isinstance(body, Path) and body.stat().st_size >= _TRANSFER.multipart_threshold:
                metadata = {"Metadata": {"sha256": digest}}
                self._client.upload_file(str(body), self._bucket, self._full(key), ExtraArgs=metadata, Config=_TRANSFER)
            else:
                content = body if isinstance(body, bytes) else body.read_bytes()
                self._put_at_once(key, content, digest, _conditions(if_absent, if_match))
        found = self.head(key)
        if found is None:
            raise StoreUnavailable(f"{self.uri(key)} was written but is not there.")
        return found

    def read(self, key: str) -> bytes:
        with self._failures(key):
            return self._client.get_object(Bucket=self._bucket, Key=self._full(key))["Body"].read()

    def download(self, key: str, path: Path) -> ObjectInfo:
        info = self.head(key)
        if info is None:
            raise ObjectMissing(f"{self.uri(key)} does not exist.")
        with self._failures(key):
            self._client.download_file(self._bucket, self._full(key), str(path), Config=_TRANSFER)
        return info

    def head(self, key: str) -> ObjectInfo | None:
        try:
            with self._failures(key):
                found = self._client.head_object(Bucket=self._bucket, Key=self._full(key))
        except ObjectMissing:
            self._require_bucket()
            return None
        sha256 = found["Metadata"].get("sha256")
        return ObjectInfo(key, found["ContentLength"], found["ETag"], sha256, found["LastModified"])

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._client.get_paginator("list_objects_v2")
        with self._failures(prefix):
            for page in pages.paginate(Bucket=self._bucket, Prefix=self._full(prefix)):
                for entry in page.get("Contents", []):
                    modified = entry.get("LastModified", datetime.fromtimestamp(0, UTC))
                    key = entry["Key"].removeprefix(self._prefix)
                    yield ObjectInfo(key, entry["Size"], entry.get("ETag", ""), None, modified)

    def delete(self, key: str) -> None:
        with self._failures(key), contextlib.suppress(ObjectMissing):
            self._client.delete_object(Bucket=self._bucket, Key=self._full(key))

    def copy(self, source: str, destination: str) -> None:
        with self._failures(source):
            origin: Any = {"Bucket": self._bucket, "Key": self._full(source)}
            self._client.copy(origin, self._bucket, self._full(destination), Config=_TRANSFER)

    def uri(self, key: str) -> str:
        return f"s3://{self._bucket}/{self._full(key)}"

    def honours_conditional_writes(self) -> bool:
        return conditional_writes_work(self)

    def _full(self, key: str) -> str:
        return self._prefix + key

    def _put_at_once(self, key: str, content: bytes, digest: str, conditions: dict[str, str]) -> None:
        md5 = base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
        self._client.put_object(
            Bucket=self._bucket,
            Key=self._full(key),
            Body=content,
            ContentMD5=md5,
            Metadata={"sha256": digest},
            **conditions,  # type: ignore[arg-type]
        )

    def _require_bucket(self) -> None:
        """HEAD answers 404 for a missing object and for a missing bucket alike."""
        try:
            self._client.head_bucket(Bucket=self._bucket)
        except ClientError as error:
            if _code(error) in _MISSING | {"NoSuchBucket"}:
                raise self._no_bucket() from error
        except BotoCoreError:
            return

    def _no_bucket(self) -> StoreDenied:
        return StoreDenied(f"Bucket {self._bucket!r} does not exist at {self._endpoint}; create it or correct the URI.")

    @property
    def _endpoint(self) -> str:
        return self._client.meta.endpoint_url

    @contextlib.contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            raise self._explain(error, key) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreDenied(f"No credentials for {self._endpoint}: set the store's credentialsSecretRef.") from error
        except (BotoCoreError, OSError) as error:
            raise StoreUnavailable(f"{self._endpoint} does not answer for {self.uri(key)}: {error}") from error

    def _explain(self, error: ClientError, key: str) -> StoreError:
        code = _code(error)
        if code == "NoSuchBucket":
            return self._no_bucket()
        if code in _MISSING:
            return ObjectMissing(f"{self.uri(key)} does not exist.")
        if code in _CONDITION:
            return PreconditionFailed(f"{self.uri(key)} was written by another writer.")
        if code in _DENIED:
            return StoreDenied(f"{self._endpoint} refuses access to {self.uri(key)} ({code}); check the Secret's keys.")
        return StoreUnavailable(f"{self._endpoint} failed for {self.uri(key)}: {error}")


def _conditions(if_absent: bool, if_match: str | None) -> dict[str, str]:
    return ({"IfNoneMatch": "*"} if if_absent else {}) | ({"IfMatch": if_match} if if_match is not None else {})


def _sha256(body: bytes | Path) -> str:
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest()
    with body.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
