"""How the operator signs its requests to Oracle."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oci.auth.signers import InstancePrincipalsSecurityTokenSigner, get_oke_workload_identity_resource_principal_signer
from oci.config import validate_config
from oci.exceptions import InvalidConfig, InvalidPrivateKey
from oci.signer import Signer

from masktrain_operator.api.pool_auth import PoolAuth

from .access import OciAccess, require_api_key
from .errors import OciError, OciErrorKind
from .retries import retry_strategy
from .translation import translate

NAMES_IN_SECRET = {"key_file": "key", "key_content": "key"}


@dataclass(frozen=True)
class Login:
    """What the SDK's clients take. `config` always names the region; the key of `signer` may be renewed by itself."""

    config: dict[str, str] = field(repr=False)
    signer: Any = field(repr=False)


def log_in(access: OciAccess) -> Login:
    """Raises OciError. Of an instance or workload this asks for a first token, and so takes a network round trip."""
    if access.auth is PoolAuth.CONFIG_SECRET:
        return _with_api_key(access.api_key, access.region)
    sign_in = SIGNERS[access.auth]
    try:
        return Login({"region": access.region}, sign_in())
    except Exception as error:  # besides the SDK's errors those of certificates and tokens, which share no base class
        raise _refused(error, access.auth) from error


def _instance_principal() -> Any:
    strategy = retry_strategy()
    return InstancePrincipalsSecurityTokenSigner(retry_strategy=strategy, federation_client_retry_strategy=strategy)


def _workload_identity() -> Any:
    """The region it knows is that of an environment variable which OKE does not set; Login.config makes up for it."""
    return get_oke_workload_identity_resource_principal_signer(retry_strategy=retry_strategy())


SIGNERS: dict[PoolAuth, Callable[[], Any]] = {
    PoolAuth.INSTANCE_PRINCIPAL: _instance_principal,
    PoolAuth.WORKLOAD_IDENTITY: _workload_identity,
}
ADVICE = {
    PoolAuth.INSTANCE_PRINCIPAL: "the operator's node has to be an OCI instance of a dynamic group, and its pods have "
    "to reach the metadata service at 169.254.169.254; else choose another spec.auth.type",
    PoolAuth.WORKLOAD_IDENTITY: "the cluster has to be an enhanced OKE cluster, and the operator's pods need the token "
    "of their ServiceAccount; else choose another spec.auth.type",
}


def _refused(error: Exception, auth: PoolAuth) -> OciError:
    found = translate(error, f"sign in to Oracle as {auth}")
    reason, _, _ = found.sentence.rpartition("; ")
    return OciError(found.kind, f"{reason}; {ADVICE[auth]}.", found.request_id)


def _with_api_key(secret: Mapping[str, str], region: str) -> Login:
    require_api_key(secret)
    config = {
        "tenancy": secret["tenancy"].strip(),
        "user": secret["user"].strip(),
        "fingerprint": secret["fingerprint"].strip(),
        "region": region,
        "key_content": secret["key"].strip(),
    }
    _validate(config)
    return Login(config, _api_key_signer(config, secret.get("passphrase")))


def _validate(config: dict[str, str]) -> None:
    try:
        validate_config(config)
    except InvalidConfig as error:
        wrong = ", ".join(sorted({repr(NAMES_IN_SECRET.get(name, name)) for name in error.errors}))
        raise _unusable(f"{wrong} of the Secret of spec.auth.configSecretRef is malformed; correct it") from None


def _api_key_signer(config: Mapping[str, str], passphrase: str | None) -> Any:
    """The cause is left out of what is raised: it may hold the key itself."""
    try:
        return Signer(
            tenancy=config["tenancy"],
            user=config["user"],
            fingerprint=config["fingerprint"],
            private_key_file_location=None,
            pass_phrase=passphrase,
            private_key_content=config["key_content"],
        )
    except (InvalidPrivateKey, ValueError, TypeError):
        raise _unusable(
            "'key' of the Secret of spec.auth.configSecretRef is no private key in PEM that its 'passphrase' opens; "
            "put the API key's private half there"
        ) from None


def _unusable(reason: str) -> OciError:
    return OciError(OciErrorKind.INVALID, f"Cannot sign in to Oracle: {reason}.")
