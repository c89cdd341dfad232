"""Refusals in Oracle's words: an HTTP status, a code and a sentence."""


class ServiceError(Exception):
    """Becomes the error body that the SDK reads."""

    def __init__(self, status: int, code: str, message: str) -> None:
        """Answer with `status` and `{"code", "message"}`."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def not_authenticated(message: str) -> ServiceError:
    """The signature, its key or its date is wrong."""
    return ServiceError(401, "NotAuthenticated", message)


def not_found(what: str) -> ServiceError:
    """Oracle does not tell what is missing from what may not be seen."""
    return ServiceError(404, "NotAuthorizedOrNotFound", f"Authorization failed or requested resource not found: {what}")


def invalid(message: str) -> ServiceError:
    """The request makes no sense."""
    return ServiceError(400, "InvalidParameter", message)
