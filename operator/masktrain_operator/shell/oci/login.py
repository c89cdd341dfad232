"""How the operator signs its requests to Oracle, and how long the SDK may try them by itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from oci.auth.signers import InstancePrincipalsSecurityTokenSigner, get_oke_workload_identity_resource_principal_signer
from oci.circuit_breaker import CircuitBreakerStrategy
from oci.config import validate_config
from oci.exceptions import InvalidConfig, InvalidPrivateKey
from oci.retry import BACKOFF_DECORRELATED_JITTER_VALUE, RetryStrategyBuilder
from oci.signer import Signer

from masktrain_operator.api.pool_spec import PoolAuth

from .access import OciAccess, OciError, OciErrorKind, require_api_key
from .sdk_errors import translate

TIMEOUTS_SECONDS = (5.0, 20.0)
"""Of the connection, and of each read from it."""
ATTEMPTS = 3
LAST_RETRY_SECONDS = 8
FAILING_SERVICE: dict[int, list[str]] = {429: [], 500: [], 502: [], 503: [], 504: []}
"""Unlike the SDK's default without 409: a pool that is busy for minutes says nothing about the service."""


def retry_strategy() -> Any:
    """Again after timeouts, lost connections, 429 and 5xx, with jitter, while less than 8 s have gone by."""
    return RetryStrategyBuilder(
        max_attempts=ATTEMPTS,
        total_elapsed_time_seconds=LAST_RETRY_SECONDS,
        service_error_retry_config={429: []},
        service_error_retry_on_any_5xx=True,
        retry_base_sleep_time_seconds=0.5,
        retry_exponential_growth_factor=2,
        retry_max_wait_between_calls_seconds=4,
        decorrelated_jitter=1,
        backoff_type=BACKOFF_DECORRELATED_JITTER_VALUE,
    ).get_retry_strategy()


def circuit_breaker() -> CircuitBreakerStrategy:
    """Ten failures in a row keep the next calls of that client at home for half a minute."""
    return CircuitBreakerStrategy(failure_threshold=10, recovery_timeout=30, failure_statuses_and_codes=FAILING_SERVICE)


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
