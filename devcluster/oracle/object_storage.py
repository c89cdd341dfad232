"""Object Storage on a loopback port: buckets of a namespace, conditional writes, and uploads in parts.

Paths, headers and codes: https://docs.oracle.com/iaas/api/#/en/objectstorage/20160918/
"""

import base64
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from .failures import ServiceError
from .running import serving
from .signing import Credentials, SignatureCheck, SignedRequest

META = "opc-meta-"
# aiohttp refuses bodies above 1 MiB unless told otherwise.
LARGEST_BODY = 1 << 30
NAMESPACE = "axvision"


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
        # The MD5 of a committed upload is that of its parts' MD5s, with their number behind it: not the object's own.
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


@dataclass
class FakeObjectStorage:
    """Its buckets. Whatever `refusals` holds is answered first; `cut` downloads end half-way.

    `policies`: the buckets that a principal may use; whoever is not named there may use all. `signatures`: of more
    principals than the user of `credentials`.
    """

    credentials: Credentials
    buckets: dict[str, Bucket] = field(default_factory=dict)
    page_size: int = 1000
    refusals: list[ServiceError] = field(default_factory=list)
    cut: int = 0
    requests: list[web.BaseRequest] = field(default_factory=list)
    endpoint: str = ""
    policies: dict[str, set[str]] = field(default_factory=dict)
    signatures: SignatureCheck = field(init=False)

    def __post_init__(self) -> None:
        self.signatures = SignatureCheck(self.credentials)


@contextmanager
def serving_object_storage(storage: FakeObjectStorage) -> Iterator[FakeObjectStorage]:
    """Serve until left; `endpoint` says where."""
    with serving(_application(storage)) as endpoint:
        storage.endpoint = endpoint
        yield storage


Answer = Callable[["_Request"], web.StreamResponse]


@dataclass(frozen=True)
class _Request:
    storage: FakeObjectStorage
    http: web.Request
    body: bytes
    principal: str

    @property
    def bucket(self) -> Bucket:
        namespace, name = self.http.match_info["namespace"], self.http.match_info["bucket"]
        allowed = self.storage.policies.get(self.principal, {name})
        if namespace != NAMESPACE or name not in self.storage.buckets or name not in allowed:
            raise ServiceError(404, "BucketNotFound", f"Either the bucket named '{name}' does not exist or you may not")
        return self.storage.buckets[name]

    @property
    def name(self) -> str:
        return self.http.match_info["name"]

    @property
    def upload(self) -> Upload:
        return self.bucket.upload(self.http.query["uploadId"], self.name)


def _application(storage: FakeObjectStorage) -> web.Application:
    app = web.Application(client_max_size=LARGEST_BODY)
    bucket = "/n/{namespace}/b/{bucket}"
    routes: tuple[tuple[str, str, Callable[[_Request], web.StreamResponse]], ...] = (
        ("HEAD", bucket, _head_bucket),
        ("GET", f"{bucket}/o", _list_objects),
        ("PUT", f"{bucket}/o/{{name:.+}}", _put_object),
        ("HEAD", f"{bucket}/o/{{name:.+}}", _head_object),
        ("GET", f"{bucket}/o/{{name:.+}}", _get_object),
        ("DELETE", f"{bucket}/o/{{name:.+}}", _delete_object),
        ("GET", f"{bucket}/u", _list_uploads),
        ("POST", f"{bucket}/u", _create_upload),
        ("PUT", f"{bucket}/u/{{name:.+}}", _put_part),
        ("POST", f"{bucket}/u/{{name:.+}}", _commit_upload),
        ("DELETE", f"{bucket}/u/{{name:.+}}", _abort_upload),
    )
    for method, path, answer in routes:
        app.router.add_route(method, path, _handler(storage, answer))
    return app


def _handler(storage: FakeObjectStorage, answer: Answer) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        storage.requests.append(request)
        body = await request.read()
        try:
            principal = storage.signatures.verify(
                SignedRequest(request.method, request.raw_path, request.headers, body, streamed=request.method == "PUT")
            )
            if storage.refusals:
                raise storage.refusals.pop(0)
            return answer(_Request(storage, request, body, principal))
        except ServiceError as error:
            # An answer to HEAD has no body, so the SDK sees a status and no code.
            content = {} if request.method == "HEAD" else {"code": error.code, "message": error.message}
            return web.json_response(content, status=error.status)

    return handle


def _head_bucket(request: _Request) -> web.Response:
    assert request.bucket is not None
    return web.Response()


def _list_objects(request: _Request) -> web.Response:
    query = request.http.query
    prefix, start = query.get("prefix", ""), query.get("start", "")
    names = sorted(name for name in request.bucket.objects if name.startswith(prefix) and name >= start)
    # The next page starts with this very name: nextStartWith is inclusive, unlike the marker of S3.
    page, rest = names[: request.storage.page_size], names[request.storage.page_size :]
    found = {"objects": [_summary(name, request.bucket.objects[name]) for name in page], "prefixes": []}
    return web.json_response(found | ({"nextStartWith": rest[0]} if rest else {}))


def _summary(name: str, stored: StoredObject) -> dict[str, str | int]:
    return {
        "name": name,
        "size": len(stored.body),
        "etag": stored.etag,
        "timeModified": stored.modified.isoformat(),
    }


def _put_object(request: _Request) -> web.Response:
    stored = request.bucket.put(request.name, request.body, request.http.headers)
    return web.Response(headers={"etag": stored.etag, **stored.digest})


def _head_object(request: _Request) -> web.Response:
    stored = request.bucket.get(request.name)
    return web.Response(headers=_headers(stored) | {"content-length": str(len(stored.body))})


def _get_object(request: _Request) -> web.StreamResponse:
    stored = request.bucket.get(request.name)
    if request.storage.cut > 0:
        request.storage.cut -= 1
        return _HalfOf(stored)
    return web.Response(body=stored.body, headers=_headers(stored))


class _HalfOf(web.Response):
    """Promises the whole object, and hangs up after half of it."""

    def __init__(self, stored: StoredObject) -> None:
        super().__init__(headers=_headers(stored) | {"content-length": str(len(stored.body))})
        self._half = stored.body[: len(stored.body) // 2]

    async def write_eof(self, data: bytes = b"") -> None:
        await self.write(self._half)
        assert self._req is not None
        if self._req.transport is not None:
            self._req.transport.close()


def _headers(stored: StoredObject) -> dict[str, str]:
    modified = format_datetime(stored.modified, usegmt=True)
    return {"etag": stored.etag, "last-modified": modified, **stored.metadata, **stored.digest}


def _delete_object(request: _Request) -> web.Response:
    request.bucket.delete(request.name)
    return web.Response(status=204)


def _list_uploads(request: _Request) -> web.Response:
    """Of the whole bucket, in pages: there is no way to ask for a prefix."""
    uploads = sorted(request.bucket.uploads.values(), key=lambda upload: upload.id)
    start = int(request.http.query.get("page", 0))
    end = start + request.storage.page_size
    headers = {"opc-next-page": str(end)} if end < len(uploads) else {}
    return web.json_response([_described(request, upload) for upload in uploads[start:end]], headers=headers)


def _create_upload(request: _Request) -> web.Response:
    details = _json(request)
    upload = Upload(str(details["object"]), {str(k): str(v) for k, v in dict(details.get("metadata") or {}).items()})
    request.bucket.uploads[upload.id] = upload
    return web.json_response(_described(request, upload))


def _described(request: _Request, upload: Upload) -> dict[str, str]:
    place = {"namespace": NAMESPACE, "bucket": request.http.match_info["bucket"]}
    return place | {"object": upload.name, "uploadId": upload.id}


def _json(request: _Request) -> Any:
    return json.loads(request.body)


def _put_part(request: _Request) -> web.Response:
    md5 = checked_md5(request.body, request.http.headers)
    part = StoredObject(request.body, {}, {"opc-content-md5": md5})
    request.upload.parts[int(request.http.query["uploadPartNum"])] = part
    return web.Response(headers={"etag": part.etag, **part.digest})


def _commit_upload(request: _Request) -> web.Response:
    stored = request.bucket.commit(request.upload, _json(request)["partsToCommit"])
    return web.Response(headers={"etag": stored.etag, **stored.digest})


def _abort_upload(request: _Request) -> web.Response:
    del request.bucket.uploads[request.upload.id]
    return web.Response(status=204)
