"""Access keys from a mounted Secret: one file for each of its keys."""

from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.errors import StoreDenied

ACCESS_KEY = "AWS_ACCESS_KEY_ID"
SECRET_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the name of a key
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105


@dataclass(frozen=True)
class Credentials:
    """Left empty, boto3's own chain decides (environment, web identity, instance). The secret part is never shown."""

    access_key: str | None = None
    secret_key: str | None = None
    session_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(access_key={self.access_key!r})"


def read_credentials(spec: StoreSpec, folder: Path | None) -> Credentials:
    """The keys of the Secret that `spec` names. Raises StoreDenied if they are not there or cannot be keys."""
    secret = spec.credentials_secret_ref
    if secret is None:
        return Credentials()
    found = {name: _read_secret(folder, name, secret) for name in (ACCESS_KEY, SECRET_KEY, SESSION_TOKEN)}
    missing = [name for name in (ACCESS_KEY, SECRET_KEY) if found[name] is None]
    if missing:
        raise StoreDenied(
            f"Secret {secret.name!r} does not exist or lacks the key {' and '.join(missing)}; "
            f"create it with the keys {ACCESS_KEY} and {SECRET_KEY}."
        )
    return Credentials(found[ACCESS_KEY], found[SECRET_KEY], found[SESSION_TOKEN])


def _read_secret(folder: Path | None, name: str, secret: SecretRef) -> str | None:
    if folder is None or not (folder / name).is_file():
        return None
    try:
        value = (folder / name).read_bytes().strip().decode("ascii")
    except PermissionError as error:
        raise StoreDenied(f"The key {name} of Secret {secret.name!r} is not readable for this user.") from error
    except UnicodeDecodeError:
        value = "\0"
    if not value.isprintable() or " " in value:
        raise StoreDenied(f"The key {name} of Secret {secret.name!r} holds characters that no access key has.")
    return value or None
