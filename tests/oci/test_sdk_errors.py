"""Everything the SDK raises, in one sentence."""

import pytest
from circuitbreaker import CircuitBreaker, CircuitBreakerError
from oci._vendor import requests
from oci.exceptions import (
    ConnectTimeout,
    InvalidConfig,
    InvalidPrivateKey,
    RequestException,
    ServiceError,
    TransientServiceError,
)

from masktrain_operator.shell.oci.access import OciError, OciErrorKind
from masktrain_operator.shell.oci.errors import SDK_ERRORS, translate, translated

SECRET = "-----BEGIN PRIVATE KEY-----"
HEADERS = {"opc-request-id": "ABC/DEF"}


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (400, "InvalidParameter", "No.", OciErrorKind.INVALID),
        (400, "LimitExceeded", "No.", OciErrorKind.LIMIT),
        (400, "QuotaExceeded", "No.", OciErrorKind.LIMIT),
        (401, "NotAuthenticated", "No.", OciErrorKind.DENIED),
        (403, "NotAllowed", "No.", OciErrorKind.DENIED),
        (403, "Forbidden", "Please ensure the cluster type is enhanced", OciErrorKind.DENIED),
        (404, "NotAuthorizedOrNotFound", "No.", OciErrorKind.DENIED),
        (404, "NotFound", "No.", OciErrorKind.NOT_FOUND),
        (409, "IncorrectState", "No.", OciErrorKind.BUSY),
        (409, "LockConflict", "No.", OciErrorKind.BUSY),
        (412, "NoEtagMatch", "No.", OciErrorKind.STALE),
        (429, "TooManyRequests", "No.", OciErrorKind.THROTTLED),
        (500, "InternalServerError", "No.", OciErrorKind.UNAVAILABLE),
        (500, "InternalError", "Out of host capacity.", OciErrorKind.LIMIT),
        (503, "ServiceUnavailable", "No.", OciErrorKind.UNAVAILABLE),
        (-1, "", "Could not parse the answer.", OciErrorKind.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("type_of_error", [ServiceError, TransientServiceError])
def test_a_refusal(type_of_error: type[ServiceError], status: int, code: str, message: str, kind: OciErrorKind) -> None:
    error = translate(type_of_error(status, code, HEADERS, message), "read node pool X")
    assert (error.kind, error.request_id) == (kind, "ABC/DEF")
    assert str(error).startswith(f"Cannot read node pool X: Oracle answered {status} {code}, ")
    assert str(error).endswith(".")
    assert error.sentence == str(error)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (RequestException(requests.exceptions.ReadTimeout(SECRET)), OciErrorKind.UNAVAILABLE),
        (ConnectTimeout(SECRET), OciErrorKind.UNAVAILABLE),
        (requests.exceptions.SSLError(SECRET), OciErrorKind.UNAVAILABLE),
        (ConnectionResetError(104, "Connection reset by peer"), OciErrorKind.UNAVAILABLE),
        (CircuitBreakerError(CircuitBreaker(name=SECRET)), OciErrorKind.UNAVAILABLE),
        (FileNotFoundError(2, "No such file", "/var/run/secrets/token"), OciErrorKind.UNAVAILABLE),
        (RuntimeError(f"Could not find token in {SECRET}"), OciErrorKind.UNAVAILABLE),
        (ValueError(SECRET), OciErrorKind.UNAVAILABLE),
        (InvalidPrivateKey(SECRET), OciErrorKind.INVALID),
        (InvalidConfig({"key_content": SECRET}), OciErrorKind.INVALID),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_answer(raised: Exception, kind: OciErrorKind) -> None:
    assert isinstance(raised, SDK_ERRORS)
    error = translate(raised, "read node pool X")
    assert error.kind is kind
    assert str(error).startswith("Cannot read node pool X: ")
    assert SECRET not in str(error)


def test_the_reason_is_what_the_socket_said() -> None:
    with pytest.raises(OciError, match=r"no answer came from Oracle \(Connection refused\)"), translated("read it"):
        requests.get("http://127.0.0.1:9", timeout=1)


def test_a_long_message_is_cut_and_stays_one_line() -> None:
    error = translate(ServiceError(400, "Invalid", HEADERS, 'a "quoted"\n line ' * 100), "read it")
    assert "\n" not in str(error)
    assert len(str(error)) < 500


def test_a_mistake_of_ours_is_not_blamed_on_oracle() -> None:
    with pytest.raises(KeyError), translated("read it"):
        raise KeyError("etag")
