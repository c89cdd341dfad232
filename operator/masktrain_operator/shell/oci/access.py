"""What it takes to talk to Oracle about one node pool, and how a call to it can fail.

Free of Oracle's SDK, which takes a second to import.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from masktrain_operator.api.pool_spec import PoolAuth


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


API_KEY_KEYS = {
    "tenancy": "the OCID of the tenancy",
    "user": "the OCID of the user",
    "fingerprint": "the fingerprint of the API key",
    "key": "the private API key in PEM",
}
"""Keys of the Secret, and what belongs there; `passphrase` may be added for an encrypted key."""


@dataclass(frozen=True)
class OciAccess:
    """`api_key`: the decoded Secret of type ConfigSecret. `endpoint` replaces those of Container Engine and Compute."""

    auth: PoolAuth
    region: str
    api_key: Mapping[str, str] = field(default_factory=dict, repr=False)
    endpoint: str | None = None


def require_api_key(secret: Mapping[str, str]) -> None:
    """Raises OciError with one sentence that names every key that is missing or empty."""
    missing = [f"{key!r} ({meaning})" for key, meaning in API_KEY_KEYS.items() if not secret.get(key, "").strip()]
    if missing:
        raise OciError(
            OciErrorKind.INVALID,
            f"Cannot sign in to Oracle: the Secret of spec.auth.configSecretRef lacks {', '.join(missing)}; add it.",
        )
