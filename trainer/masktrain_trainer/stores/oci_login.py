"""Signing in to Oracle as the ServiceAccount of the pod, with an API key, as a config file says, or as the instance."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from oci.auth.signers import (
    InstancePrincipalsSecurityTokenSigner,
    SecurityTokenSigner,
    get_oke_workload_identity_resource_principal_signer,
)
from oci.config import from_file, validate_config
from oci.exceptions import (
    ClientError,
    ConfigFileNotFound,
    InvalidConfig,
    InvalidKeyFilePath,
    InvalidPrivateKey,
    ServiceError,
)
from oci.retry import BACKOFF_DECORRELATED_JITTER_VALUE, RetryStrategyBuilder
from oci.signer import Signer, load_private_key_from_file

from masktrain_trainer.config import WORKLOAD_IDENTITY, SecretRef, StoreAuth, StoreSpec
from masktrain_trainer.errors import StoreDenied, StoreError, StoreUnavailable

from .remote import read_secret

_ATTEMPTS: Final = 4
_LONGEST_SECONDS: Final = 120


def retry_strategy() -> Any:
    """Again after timeouts, lost connections, 429 and 5xx, with jitter."""
    return RetryStrategyBuilder(
        max_attempts=_ATTEMPTS,
        total_elapsed_time_seconds=_LONGEST_SECONDS,
        # -1 is the SDK's number for no answer at all; an empty list stands for every code of a status.
        service_error_retry_config={-1: [], 429: []},
        service_error_retry_on_any_5xx=True,
        retry_base_sleep_time_seconds=0.5,
        retry_exponential_growth_factor=2,
        retry_max_wait_between_calls_seconds=20,
        decorrelated_jitter=1,
        backoff_type=BACKOFF_DECORRELATED_JITTER_VALUE,
    ).get_retry_strategy()


API_KEY: Final = ("tenancy", "user", "fingerprint", "key")
"""Keys of the Secret, as of a GPUNodePool's; `passphrase` may be added for an encrypted key."""

_NO_TEXT: Final = "holds characters that do not belong there"
_PASSPHRASE: Final = "passphrase"  # noqa: S105 - the name of a key
_NAMES_IN_SECRET: Final = {"key_file": "key", "key_content": "key"}
_PROFILE: Final = "OCI_CLI_PROFILE"
"""The variable that Oracle's command line takes the profile's name from."""
_AUTHORITY: Final = "OCI_KUBERNETES_SERVICE_ACCOUNT_CERT_PATH"
"""The only way to tell the SDK where the certificate of the cluster's authority lies."""


@dataclass(frozen=True)
class Login:
    """What the SDK's clients take; the secret parts are never shown."""

    config: dict[str, Any] = field(repr=False)
    signer: Any = field(repr=False)


def log_in(spec: StoreSpec, folder: Path | None) -> Login:
    """Sign in as what `spec` names, else as the config file's profile, else as the instance.

    `folder` is that of the mounted Secret. Raises StoreDenied, StoreUnavailable if the identity service fails in a way
    that may pass.
    """
    if spec.auth is StoreAuth.WORKLOAD_IDENTITY:
        return _as_workload(spec)
    if spec.auth is StoreAuth.INSTANCE_PRINCIPAL:
        return _as_instance(spec.region)
    if spec.credentials_secret_ref is not None:
        return _with_secret(spec.credentials_secret_ref, spec.region, folder)
    try:
        config = from_file(profile_name=os.environ.get(_PROFILE, "DEFAULT"))
    except ConfigFileNotFound:
        return _as_instance(spec.region)
    except (ClientError, ValueError, OSError) as error:
        raise _unusable_file(error) from None
    return _with_file(config, spec.region)


def _with_secret(secret: SecretRef, region: str | None, folder: Path | None) -> Login:
    found = {name: read_secret(folder, name, secret, _NO_TEXT) for name in (*API_KEY, _PASSPHRASE)}
    if missing := [name for name in API_KEY if not found[name]]:
        raise StoreDenied(
            f"Secret {secret.name!r} does not exist or lacks the key {' and '.join(missing)}; "
            f"create it with the keys {', '.join(API_KEY)} of an API key of Oracle."
        )
    if region is None:
        raise StoreDenied(
            f"The API key of Secret {secret.name!r} needs to know the bucket's region; "
            "set the store's region, for example to eu-frankfurt-1."
        )
    config = {
        "tenancy": found["tenancy"],
        "user": found["user"],
        "fingerprint": found["fingerprint"],
        "region": region,
        "key_content": found["key"],
    }
    try:
        validate_config(config)
        return Login(config, _signer(config, found[_PASSPHRASE]))
    except InvalidConfig as error:
        wrong = " and ".join(sorted({_NAMES_IN_SECRET.get(name, name) for name in error.errors}))
        raise StoreDenied(f"{wrong} of Secret {secret.name!r} or of its store is malformed; correct it.") from None
    except (InvalidPrivateKey, ValueError, TypeError):  # the cause is left out: it may hold the key itself
        raise StoreDenied(
            f"The key of Secret {secret.name!r} is no private key in PEM that its passphrase opens; "
            "put the API key's private half there."
        ) from None


def _signer(config: Mapping[str, str | None], passphrase: str | None) -> Any:
    return Signer(
        tenancy=config["tenancy"],
        user=config["user"],
        fingerprint=config["fingerprint"],
        private_key_file_location=config.get("key_file"),
        pass_phrase=passphrase,
        private_key_content=config.get("key_content"),
    )


def _with_file(config: dict[str, Any], region: str | None) -> Login:
    """A profile has an API key, or a token of a browser's login with a key of its own."""
    config |= {"region": region} if region is not None else {}
    try:
        if token := config.get("security_token_file"):
            key = load_private_key_from_file(config["key_file"], config.get("pass_phrase"))
            return Login(config, SecurityTokenSigner(Path(token).expanduser().read_text(encoding="ascii"), key))
        validate_config(config)
        return Login(config, _signer(config, config.get("pass_phrase")))
    except (ClientError, ValueError, TypeError, KeyError, OSError) as error:
        raise _unusable_file(error) from None


def _unusable_file(error: Exception) -> StoreDenied:
    """Only names of errors and files: the texts may quote keys."""
    if isinstance(error, InvalidConfig):
        reason = " and ".join(f"{name} is {wrong}" for name, wrong in sorted(error.errors.items()))
    elif isinstance(error, (InvalidKeyFilePath, OSError)):
        reason = "a file that it names cannot be read"
    else:
        reason = type(error).__name__
    return StoreDenied(f"The config file of Oracle's SDK is unusable: {reason}; correct it, or {_PROFILE}.")


def _as_workload(spec: StoreSpec) -> Login:
    """The token of the pod's ServiceAccount is exchanged at the cluster's own address for one of Oracle."""
    if spec.region is None and spec.endpoint is None:
        raise StoreDenied(
            "Workload identity needs to know the bucket's region; set the store's region, for example to "
            "eu-frankfurt-1."
        )
    token, authority = Path(WORKLOAD_IDENTITY, "token"), Path(WORKLOAD_IDENTITY, "ca.crt")
    if not (token.is_file() and authority.is_file()):
        raise StoreDenied(
            f"The pod has no token of its ServiceAccount in {WORKLOAD_IDENTITY}; the operator mounts it where the "
            "store's auth is WorkloadIdentity."
        )
    os.environ.setdefault(_AUTHORITY, str(authority))
    try:
        signer = get_oke_workload_identity_resource_principal_signer(
            service_account_token_path=str(token), retry_strategy=retry_strategy()
        )
    except Exception as error:  # as for instances
        raise _no_workload(error) from error
    return Login({} if spec.region is None else {"region": spec.region}, signer)


def _no_workload(error: Exception) -> StoreError:
    if _may_pass(error):
        return StoreUnavailable(f"The cluster's workload identity failed with {_shown_failure(error)}.")
    return StoreDenied(
        f"The cluster does not exchange the token of the pod's ServiceAccount ({_shown_failure(error)}): it has to be "
        "an enhanced OKE cluster; else set the store's auth to Secret, with an API key in credentialsSecretRef."
    )


def _may_pass(error: Exception) -> bool:
    """Whether signing in may succeed later; of the errors of sockets all may."""
    if isinstance(error, ServiceError):
        return bool(error.status == 429 or error.status >= 500)
    return isinstance(error, OSError)


def _shown_failure(error: Exception) -> str:
    """Without texts of the SDK, which may quote tokens."""
    return str(error.status) if isinstance(error, ServiceError) else type(error).__name__


def _as_instance(region: str | None) -> Login:
    strategy = retry_strategy()
    try:
        signer = InstancePrincipalsSecurityTokenSigner(
            retry_strategy=strategy, federation_client_retry_strategy=strategy
        )
    except Exception as error:  # besides the SDK's errors those of certificates and tokens, which share no base class
        raise _no_instance(error) from error
    return Login({} if region is None else {"region": region}, signer)


def _no_instance(error: Exception) -> StoreError:
    if isinstance(error, ServiceError) and _may_pass(error):
        return StoreUnavailable(f"Oracle's identity service failed with {error.status}.")
    return StoreDenied(
        "No credentials for Oracle: there is no config file, and this machine could not sign in as an instance "
        f"({type(error).__name__}); name a Secret with an API key in the store, or use a node of a dynamic group "
        "whose pods reach 169.254.169.254."
    )
