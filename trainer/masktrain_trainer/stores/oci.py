"""Oracle's Object Storage by its own API, which needs no second kind of key: a node may sign as the instance it is.

Who the trainer is to Oracle is an API key from a mounted Secret, a config file, or the instance it runs on. The SDK
tries by itself as long as the one for S3: a checkpoint comes back anyway, with newer weights.
"""

import io
import math
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from oci.auth.signers import InstancePrincipalsSecurityTokenSigner, SecurityTokenSigner
from oci.circuit_breaker import NoCircuitBreakerStrategy
from oci.config import from_file, validate_config
from oci.exceptions import (
    ClientError,
    ConfigFileNotFound,
    InvalidConfig,
    InvalidKeyFilePath,
    InvalidPrivateKey,
    ServiceError,
)
from oci.object_storage import ObjectStorageClient, UploadManager
from oci.pagination import list_call_get_all_results_generator
from oci.retry import BACKOFF_DECORRELATED_JITTER_VALUE, NoneRetryStrategy, RetryStrategyBuilder
from oci.signer import Signer, load_private_key_from_file

from masktrain_trainer.config import SecretRef, StoreSpec, shown_url
from masktrain_trainer.errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreError, StoreUnavailable

from .base import ObjectInfo
from .remote import (
    MIB,
    PARALLEL_PARTS,
    PART,
    SHA256,
    IncompleteUpload,
    RemoteStore,
    content_md5,
)

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


_MOST_PARTS: Final = 9_000  # the service takes 10,000


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
        target = OciTarget(
            shown_url(spec.endpoint or "Oracle"), f"{bucket}@{namespace}", f"oci://{bucket}@{namespace}/{prefix}"
        )
        raise explain(error, target) from error
    return OciStore(client, bucket, namespace, prefix)


class OciStore(RemoteStore):
    """Objects below `prefix` of one bucket."""

    failures = FAILURES

    def __init__(self, client: ObjectStorageClient, bucket: str, namespace: str, prefix: str) -> None:
        super().__init__(prefix)
        self._client = client
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
            answer = self._client.get_object(*self._place, self._full(key), retry_strategy=NoneRetryStrategy())
            try:
                sink.writelines(answer.data.iter_content(MIB))
            except OSError as error:
                if error.errno is None:  # not the disk's, and of no kind that the SDK would try again by itself
                    raise ConnectionResetError from error
                raise
            return str(answer.headers["etag"])

        return str(self._retries.make_retrying_call(attempt))

    def _head(self, key: str) -> ObjectInfo:
        headers = self._client.head_object(*self._place, self._full(key)).headers
        modified = parsedate_to_datetime(headers["last-modified"])
        sha256 = headers.get(f"opc-meta-{SHA256}")
        return ObjectInfo(key, int(headers["content-length"]), headers["etag"], sha256, modified)

    def _head_bucket(self) -> None:
        self._client.head_bucket(*self._place)

    def _pages(self, prefix: str) -> Iterator[list[ObjectInfo]]:
        start: str | None = ""
        fields = "name,size,etag,timeModified"
        while start is not None:
            answer = self._client.list_objects(*self._place, prefix=self._full(prefix), start=start, fields=fields)
            yield [self._listed(entry) for entry in answer.data.objects]
            start = answer.data.next_start_with

    def _listed(self, entry: Any) -> ObjectInfo:
        modified = entry.time_modified or datetime.fromtimestamp(0, UTC)
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


TIMEOUTS_SECONDS: Final = (5.0, 60.0)
"""Of the connection, and of each read from it."""

_ATTEMPTS: Final = 4
_LONGEST_SECONDS: Final = 120


def retry_strategy() -> Any:
    """Again after timeouts, lost connections, 429 and 5xx, with jitter."""
    return RetryStrategyBuilder(
        max_attempts=_ATTEMPTS,
        total_elapsed_time_seconds=_LONGEST_SECONDS,
        service_error_retry_config={-1: [], 429: []},
        service_error_retry_on_any_5xx=True,
        retry_base_sleep_time_seconds=0.5,
        retry_exponential_growth_factor=2,
        retry_max_wait_between_calls_seconds=20,
        decorrelated_jitter=1,
        backoff_type=BACKOFF_DECORRELATED_JITTER_VALUE,
    ).get_retry_strategy()


API_KEY: Final = ("tenancy", "user", "fingerprint", "key")
"""Keys of the Secret, as of a GPUNodePool's; `passphrase` may be added for an encrypted key."""

_PASSPHRASE: Final = "passphrase"  # noqa: S105 - the name of a key
_NAMES_IN_SECRET: Final = {"key_file": "key", "key_content": "key"}
_PROFILE: Final = "OCI_CLI_PROFILE"
"""The variable that Oracle's command line takes the profile's name from."""


@dataclass(frozen=True)
class Login:
    """What the SDK's clients take; the secret parts are never shown."""

    config: dict[str, Any] = field(repr=False)
    signer: Any = field(repr=False)


def log_in(spec: StoreSpec, folder: Path | None) -> Login:
    """Sign in as what `spec` names, else as the config file's profile, else as the instance.

    `folder` is that of the mounted Secret. Raises StoreDenied, StoreUnavailable if the instance's identity service
    fails in a way that may pass.
    """
    if spec.credentials_secret_ref is not None:
        return _with_secret(spec.credentials_secret_ref, spec.region, folder)
    try:
        config = from_file(profile_name=os.environ.get(_PROFILE, "DEFAULT"))
    except ConfigFileNotFound:
        return _as_instance(spec.region)
    except (ClientError, ValueError, OSError) as error:
        raise _unusable_file(error) from None
    return _with_file(config, spec.region)


def _with_secret(secret: SecretRef, region: str | None, folder: Path | None) -> Login:
    found = {name: _read_secret(folder, name, secret) for name in (*API_KEY, _PASSPHRASE)}
    if missing := [name for name in API_KEY if not found[name]]:
        raise StoreDenied(
            f"Secret {secret.name!r} does not exist or lacks the key {' and '.join(missing)}; "
            f"create it with the keys {', '.join(API_KEY)} of an API key of Oracle."
        )
    if region is None:
        raise StoreDenied(
            f"The API key of Secret {secret.name!r} needs to know the bucket's region; "
            "set the store's region, for example to eu-frankfurt-1."
        )
    config = {
        "tenancy": found["tenancy"],
        "user": found["user"],
        "fingerprint": found["fingerprint"],
        "region": region,
        "key_content": found["key"],
    }
    try:
        validate_config(config)
        return Login(config, _signer(config, found[_PASSPHRASE]))
    except InvalidConfig as error:
        wrong = " and ".join(sorted({_NAMES_IN_SECRET.get(name, name) for name in error.errors}))
        raise StoreDenied(f"{wrong} of Secret {secret.name!r} or of its store is malformed; correct it.") from None
    except (InvalidPrivateKey, ValueError, TypeError):  # the cause is left out: it may hold the key itself
        raise StoreDenied(
            f"The key of Secret {secret.name!r} is no private key in PEM that its passphrase opens; "
            "put the API key's private half there."
        ) from None


def _read_secret(folder: Path | None, name: str, secret: SecretRef) -> str | None:
    if folder is None or not (folder / name).is_file():
        return None
    try:
        return (folder / name).read_text(encoding="ascii").strip()
    except PermissionError as error:
        raise StoreDenied(f"The key {name} of Secret {secret.name!r} is not readable for this user.") from error
    except UnicodeDecodeError:
        raise StoreDenied(
            f"The key {name} of Secret {secret.name!r} holds characters that do not belong there."
        ) from None


def _signer(config: Mapping[str, str | None], passphrase: str | None) -> Any:
    return Signer(
        tenancy=config["tenancy"],
        user=config["user"],
        fingerprint=config["fingerprint"],
        private_key_file_location=config.get("key_file"),
        pass_phrase=passphrase,
        private_key_content=config.get("key_content"),
    )


def _with_file(config: dict[str, Any], region: str | None) -> Login:
    """A profile has an API key, or a token of a browser's login with a key of its own."""
    config |= {"region": region} if region is not None else {}
    try:
        if token := config.get("security_token_file"):
            key = load_private_key_from_file(config["key_file"], config.get("pass_phrase"))
            return Login(config, SecurityTokenSigner(Path(token).expanduser().read_text(encoding="ascii"), key))
        validate_config(config)
        return Login(config, _signer(config, config.get("pass_phrase")))
    except (ClientError, ValueError, TypeError, KeyError, OSError) as error:
        raise _unusable_file(error) from None


def _unusable_file(error: Exception) -> StoreDenied:
    """Only names of errors and files: the texts may quote keys."""
    if isinstance(error, InvalidConfig):
        reason = " and ".join(f"{name} is {wrong}" for name, wrong in sorted(error.errors.items()))
    elif isinstance(error, (InvalidKeyFilePath, OSError)):
        reason = "a file that it names cannot be read"
    else:
        reason = type(error).__name__
    return StoreDenied(f"The config file of Oracle's SDK is unusable: {reason}; correct it, or {_PROFILE}.")


def _as_instance(region: str | None) -> Login:
    strategy = retry_strategy()
    try:
        signer = InstancePrincipalsSecurityTokenSigner(
            retry_strategy=strategy, federation_client_retry_strategy=strategy
        )
    except Exception as error:  # besides the SDK's errors those of certificates and tokens, which share no base class
        raise _no_instance(error) from error
    return Login({} if region is None else {"region": region}, signer)


def _no_instance(error: Exception) -> StoreError:
    if isinstance(error, ServiceError) and (error.status == 429 or error.status >= 500):
        return StoreUnavailable(f"Oracle's identity service failed with {error.status}.")
    return StoreDenied(
        "No credentials for Oracle: there is no config file, and this machine could not sign in as an instance "
        f"({type(error).__name__}); name a Secret with an API key in the store, or use a node of a dynamic group "
        "whose pods reach 169.254.169.254."
    )
