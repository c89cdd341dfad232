"""Access keys from a mounted Secret: one file for each of its keys."""

from dataclasses import dataclass
from pathlib import Path

from masktrain_trainer.config import StoreSpec

from .errors import StoreDenied

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
    """The keys of the Secret that `spec` names. Raises StoreDenied if they are not there."""
    if spec.credentials_secret_ref is None or folder is None:
        return Credentials()
    missing = [name for name in (ACCESS_KEY, SECRET_KEY) if _read(folder, name) is None]
    if missing:
        raise StoreDenied(
            f"Secret {spec.credentials_secret_ref.name!r} does not exist or lacks the key {' and '.join(missing)}; "
            f"create it with the keys {ACCESS_KEY} and {SECRET_KEY}."
        )
    return Credentials(_read(folder, ACCESS_KEY), _read(folder, SECRET_KEY), _read(folder, SESSION_TOKEN))


def _read(folder: Path, name: str) -> str | None:
    path = folder / name
    return (path.read_text().strip() or None) if path.is_file() else None
