"""The checksum that travels with every object."""

import hashlib
from pathlib import Path


def sha256_of(body: bytes | Path) -> str:
    """SHA-256 of bytes or of a file's content, in lower-case hex."""
    if isinstance(body, bytes):
        return hashlib.sha256(body).hexdigest()
    with body.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
