"""Object Storage: buckets of a namespace, conditional writes, and uploads in parts.

Paths, headers and codes: https://docs.oracle.com/iaas/api/#/en/objectstorage/20160918/
"""

import base64
import hashlib
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tests.fakes.oci.errors import ServiceError

META = "opc-meta-"


@dataclass(frozen=True)
class StoredObject:
    """One version of an object. `digest` is the header that tells its MD5, or that of its parts."""

    body: bytes
    metadata: Mapping[str, str]
    digest: Mapping[str, str]
    etag: str = field(default_factory=lambda: str(uuid.uuid4()))
    modified: datetime = field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))


@dataclass
class Upload:
    """An upload in parts that is not committed: no listing of objects shows it."""

    name: str
    metadata: Mapping[str, str]
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    parts: dict[int, StoredObject] = field(default_factory=dict)


@dataclass
class Bucket:
    """Objects and unfinished uploads by name and id."""

    objects: dict[str, StoredObject] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)

    def put(self, name: str, body: bytes, headers: Mapping[str, str]) -> StoredObject:
        self._require_condition(name, headers)
        stored = StoredObject(body, _metadata(headers), {"opc-content-md5": checked_md5(body, headers)})
        self.objects[name] = stored
        return stored

    def get(self, name: str) -> StoredObject:
        if name not in self.objects:
            raise ServiceError(404, "ObjectNotFound", f"The object '{name}' was not found")
        return self.objects[name]

    def delete(self, name: str) -> None:
        self.get(name)
        del self.objects[name]

    def upload(self, upload_id: str, name: str) -> Upload:
        upload = self.uploads.get(upload_id)
        if upload is None or upload.name != name:
            raise ServiceError(404, "NoSuchUpload", "The upload does not exist")
        return upload

    def commit(self, upload: Upload, wanted: list[dict[str, Any]]) -> StoredObject:
        parts = [upload.parts[part["partNum"]] for part in sorted(wanted, key=lambda part: int(part["partNum"]))]
        if [part["etag"] for part in sorted(wanted, key=lambda part: int(part["partNum"]))] != [p.etag for p in parts]:
            raise ServiceError(400, "InvalidUploadPart", "An etag is not that of its part")
        body = b"".join(part.body for part in parts)
        digests = b"".join(hashlib.md5(part.body, usedforsecurity=False).digest() for part in parts)
        md5 = base64.b64encode(hashlib.md5(digests, usedforsecurity=False).digest()).decode()
        stored = StoredObject(body, upload.metadata, {"opc-multipart-md5": f"{md5}-{len(parts)}"})
        self.objects[upload.name] = stored
        del self.uploads[upload.id]
        return stored

    def _require_condition(self, name: str, headers: Mapping[str, str]) -> None:
        there = self.objects.get(name)
        if headers.get("if-none-match") == "*" and there is not None:
            raise ServiceError(412, "IfNoneMatchFailed", f"The object '{name}' exists")
        wanted = headers.get("if-match")
        if wanted is not None and (there is None or there.etag != wanted):
            raise ServiceError(412, "IfMatchFailed", f"The object '{name}' has another entity tag")


def checked_md5(body: bytes, headers: Mapping[str, str]) -> str:
    """Raises ServiceError 400 if a checksum that came along is not the body's."""
    found = {
        "content-md5": hashlib.md5(body, usedforsecurity=False).digest(),
        "opc-content-sha256": hashlib.sha256(body).digest(),
    }
    for header, digest in found.items():
        sent = headers.get(header)
        if sent is not None and sent != base64.b64encode(digest).decode():
            raise ServiceError(400, f"Unmatched{header}", f"The {header} that was sent is not that of the body")
    return base64.b64encode(found["content-md5"]).decode()


def _metadata(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith(META)}
