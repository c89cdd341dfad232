"""What it takes to talk to Oracle about one node pool."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from masktrain_operator.api.pool_auth import PoolAuth

from .errors import OciError, OciErrorKind

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
