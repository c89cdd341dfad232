"""What a failure of Oracle's Object Storage or of its SDK means, as one sentence for a person."""

from dataclasses import dataclass
from typing import Final

from oci.exceptions import ClientError, ServiceError

from masktrain_trainer.errors import ObjectMissing, PreconditionFailed, StoreDenied, StoreError, StoreUnavailable

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
