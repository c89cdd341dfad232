"""What an S3 server's or client's failure means, as one sentence for a person."""

from dataclasses import dataclass
from typing import Final

from boto3.exceptions import Boto3Error
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    EndpointResolutionError,
    NoCredentialsError,
    ParamValidationError,
    PartialCredentialsError,
    ProfileNotFound,
)

from masktrain_trainer.errors import (
    ConditionsUnsupported,
    ObjectMissing,
    PreconditionFailed,
    StoreDenied,
    StoreError,
    StoreUnavailable,
)

FAILURES: Final = (BotoCoreError, Boto3Error, ClientError, OSError, ValueError)
"""All that boto3 raises; ValueError for addresses and names that it cannot make a request of."""

_MISSING: Final = {"404", "NoSuchKey", "NotFound"}
_CONDITION_UNKNOWN: Final = {"501", "NotImplemented", "InvalidArgument", "InvalidRequest"}
_NO_BUCKET: Final = "Bucket {bucket!r} does not exist at {endpoint}; create it or correct the URI."
_ANSWERS: Final[tuple[tuple[set[str], type[StoreError], str], ...]] = (
    ({"NoSuchBucket"}, StoreDenied, _NO_BUCKET),
    (_MISSING, ObjectMissing, "{uri} does not exist."),
    (
        {"412", "PreconditionFailed", "409", "ConditionalRequestConflict"},
        PreconditionFailed,
        "{uri} was written by another writer.",
    ),
    (
        {
            "401",
            "403",
            "AccessDenied",
            "ExpiredToken",
            "InvalidAccessKeyId",
            "InvalidToken",
            "RequestTimeTooSkewed",
            "SignatureDoesNotMatch",
            "Unauthorized",
        },
        StoreDenied,
        "{endpoint} refuses access to {uri} ({code}); check the Secret's keys.",
    ),
    (
        {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"},
        StoreDenied,
        "Bucket {bucket!r} is not in region {region!r}; correct the store's region.",
    ),
)


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
    if isinstance(cause, (ParamValidationError, EndpointResolutionError, ValueError)):
        return StoreDenied(f"{target.uri} at {target.endpoint} is no valid address: {_one_line(cause)}")
    return StoreUnavailable(f"{target.uri} at {target.endpoint} could not be reached: {_one_line(cause)}")


def no_bucket(target: Target) -> StoreDenied:
    """The answer to a HEAD names no bucket, so its caller has to find out."""
    return StoreDenied(_NO_BUCKET.format(**vars(target)))


def is_missing(error: Exception) -> bool:
    """Whether the server says that there is no such object or bucket."""
    return isinstance(error, ClientError) and _code(error) in _MISSING | {"NoSuchBucket"}


def _explain_answer(error: ClientError, target: Target) -> StoreError:
    code = _code(error)
    if code in _CONDITION_UNKNOWN and target.conditional:
        return ConditionsUnsupported(f"{target.endpoint} does not support conditional writes.")
    if code in _MISSING and target.conditional:
        return PreconditionFailed(f"{target.uri} was deleted by another writer.")
    for codes, kind, sentence in _ANSWERS:
        if code in codes:
            return kind(sentence.format(code=code, **vars(target)))
    return StoreUnavailable(f"{target.endpoint} failed for {target.uri}: {_one_line(error)}")


def _root_cause(error: Exception) -> Exception:
    """boto3 wraps an upload's failure in an error of its own, without a code."""
    inner = error.__cause__ or error.__context__
    return inner if isinstance(error, Boto3Error) and isinstance(inner, Exception) else error


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") + "."
