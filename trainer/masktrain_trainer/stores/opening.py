"""From a URI to the store behind it."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from masktrain_trainer.config import StoreSpec

from .base import Store


def open_store(uri: str, spec: StoreSpec | None, credentials: Path | None) -> Store:
    """The store whose keys are relative to `uri` (`s3://bucket/prefix` or `file:///folder`).

    `credentials` is the folder of the mounted Secret, one file a key. Raises StoreDenied if a Secret was asked for and
    lacks the needed keys, ValueError for another scheme.
    """
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        from .s3 import open_s3  # noqa: PLC0415 - boto3 takes a third of a second to import, folders do not need it

        return open_s3(parts.netloc, parts.path.strip("/"), spec or StoreSpec(), credentials)
    if parts.scheme == "file":
        from .folder import FolderStore  # noqa: PLC0415

        return FolderStore(Path(unquote(parts.path)))
    raise ValueError(f"{uri} must start with s3:// or file:///.")


def open_object(uri: str, spec: StoreSpec | None, credentials: Path | None) -> tuple[Store, str]:
    """The store and the key of one object. Raises as `open_store`."""
    folder, _, key = uri.rpartition("/")
    return open_store(folder, spec, credentials), unquote(key) if uri.startswith("file:") else key
