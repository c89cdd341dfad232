"""What failures of Oracle's SDK mean: whatever it raises becomes one error with one sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

from circuitbreaker import CircuitBreakerError
from oci.exceptions import ClientError, ServiceError

from masktrain_operator.core.pools.oke import shortage_of

from .access import OciError, OciErrorKind

# The circuit breaker's error is of another package than the SDK's, and no ServiceError.
SDK_ERRORS = (ServiceError, ClientError, CircuitBreakerError, OSError, RuntimeError, ValueError)
"""OSError covers its RequestException and timeouts; RuntimeError and ValueError come from its signers and parsers."""
MAX_QUOTE = 300
KIND_OF_STATUS = {
    401: OciErrorKind.DENIED,
    403: OciErrorKind.DENIED,
    404: OciErrorKind.NOT_FOUND,
    408: OciErrorKind.UNAVAILABLE,
    409: OciErrorKind.BUSY,
    412: OciErrorKind.STALE,
    429: OciErrorKind.THROTTLED,
}
ADVICE = {
    OciErrorKind.STALE: "it was changed meanwhile, so the operator reads it again",
    OciErrorKind.BUSY: "the operator waits for the change that is under way",
    OciErrorKind.NOT_FOUND: "check the OCID and the region",
    OciErrorKind.DENIED: "check the OCID, the region and that the operator's policies allow this",
    OciErrorKind.THROTTLED: "the operator asks again later",
    OciErrorKind.LIMIT: "ask Oracle for a higher limit, raise the compartment's quota or use another shape",
    OciErrorKind.UNAVAILABLE: "the operator asks again; if this lasts, check the network and the state of the region",
    OciErrorKind.INVALID: "check the GPUNodePool and the node pool",
}
NOT_AUTHENTICATED = "check that the credentials of spec.auth are valid and the clock is right"


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Turn whatever the SDK raises into an OciError; `action` completes "Cannot ..."."""
    try:
        yield
    except SDK_ERRORS as error:
        raise translate(error, action) from error


def translate(error: Exception, action: str) -> OciError:
    """The OciError for one of SDK_ERRORS; anything else is taken for an answer that makes no sense."""
    if isinstance(error, ServiceError):
        return _refusal(error, action)
    kind, reason = _reason(error)
    return OciError(kind, f"Cannot {action}: {reason}; {ADVICE[kind]}.")


def _refusal(error: ServiceError, action: str) -> OciError:
    kind = _kind(int(error.status), str(error.code), str(error.message))
    advice = NOT_AUTHENTICATED if error.status == 401 else ADVICE[kind]
    answer = f"Oracle answered {error.status} {error.code}"
    sentence = f"Cannot {action}: {answer}, {_quoted(str(error.message))}; {advice}."
    return OciError(kind, sentence, error.request_id)


def _kind(status: int, code: str, message: str) -> OciErrorKind:
    if shortage_of(code, message) is not None:
        return OciErrorKind.LIMIT
    if status == 404 and code == "NotAuthorizedOrNotFound":
        return OciErrorKind.DENIED
    if status >= 500 or status < 400:  # the SDK has -1 for an answer that it could not make out
        return OciErrorKind.UNAVAILABLE
    return KIND_OF_STATUS.get(status, OciErrorKind.INVALID)


def _reason(error: Exception) -> tuple[OciErrorKind, str]:
    """Names of classes and files only: the texts of these errors may quote tokens and keys."""
    if isinstance(error, CircuitBreakerError):
        return OciErrorKind.UNAVAILABLE, "Oracle failed too often in a row, so it is left alone for half a minute"
    if isinstance(error, ClientError):
        return OciErrorKind.INVALID, f"the SDK refuses its configuration ({type(error).__name__})"
    if isinstance(error, OSError) and error.filename is not None:
        return OciErrorKind.UNAVAILABLE, f"{error.filename} cannot be read ({type(error).__name__})"
    if isinstance(error, OSError):
        return OciErrorKind.UNAVAILABLE, f"no answer came from Oracle ({_cause(error)})"
    return OciErrorKind.UNAVAILABLE, f"the answer cannot be understood ({type(error).__name__})"


def _cause(error: BaseException) -> str:
    """What the socket said, below all that urllib3, requests and the SDK wrapped around it."""
    while error.__context__ is not None:
        error = error.__context__
    return str(getattr(error, "strerror", None) or type(error).__name__)


def _quoted(message: str) -> str:
    line = " ".join(message.split()).rstrip(".").replace('"', "'")
    return f'"{line[:MAX_QUOTE]}…"' if len(line) > MAX_QUOTE else f'"{line}"'
