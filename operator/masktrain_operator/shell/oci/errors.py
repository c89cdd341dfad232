"""What the rest of the operator may know of a call to Oracle that failed."""

from enum import StrEnum


class OciErrorKind(StrEnum):
    """What can be done about it: read anew, wait, tell a person."""

    STALE = "Stale"
    """Somebody changed the pool since it was read."""
    BUSY = "Busy"
    """Another change is under way."""
    NOT_FOUND = "NotFound"
    DENIED = "Denied"
    """Not allowed, or not there: Oracle does not tell the two apart."""
    THROTTLED = "Throttled"
    LIMIT = "Limit"
    """A service limit, a quota or the region's capacity is used up."""
    UNAVAILABLE = "Unavailable"
    INVALID = "Invalid"
    """Oracle, or the SDK before it, does not accept what was asked."""


class OciError(Exception):
    """One sentence for a person, without secrets; `request_id` is what Oracle's support asks for."""

    def __init__(self, kind: OciErrorKind, sentence: str, request_id: str | None = None) -> None:
        """Say `sentence`: what failed, where, what to do."""
        super().__init__(sentence)
        self.kind = kind
        self.sentence = sentence
        self.request_id = request_id
