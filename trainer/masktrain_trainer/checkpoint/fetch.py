"""Bringing a stored file back, trusted only if it is what was stored."""

import hashlib
from pathlib import Path

from masktrain_trainer.stores import Store
from masktrain_trainer.stores.errors import ObjectMissing


def fetch_problem(store: Store, key: str, sha256: str, path: Path) -> str | None:
    """Download to `path`; None if the content is the expected one, else what is wrong. Raises StoreError."""
    try:
        store.download(key, path)
    except ObjectMissing:
        return "gone"
    return None if file_sha256(path) == sha256 else "damaged"


def file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
