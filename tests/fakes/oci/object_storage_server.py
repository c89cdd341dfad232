"""Object Storage over HTTP, on a loopback port of the test's own process."""

import json
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import format_datetime
from typing import Any

from aiohttp import web

from tests.fakes.oci.credentials import Credentials
from tests.fakes.oci.errors import ServiceError
from tests.fakes.oci.in_process import serving
from tests.fakes.oci.object_storage import Bucket, StoredObject, Upload, checked_md5
from tests.fakes.oci.signatures import SignatureCheck, SignedRequest

LARGEST_BODY = 1 << 30
NAMESPACE = "axvision"


@dataclass
class FakeObjectStorage:
    """Its buckets. Whatever `refusals` holds is answered first; `cut` downloads end half-way."""

    credentials: Credentials
    buckets: dict[str, Bucket] = field(default_factory=dict)
    page_size: int = 1000
    refusals: list[ServiceError] = field(default_factory=list)
    cut: int = 0
    requests: list[web.BaseRequest] = field(default_factory=list)
    endpoint: str = ""


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

    @property
    def bucket(self) -> Bucket:
        namespace, name = self.http.match_info["namespace"], self.http.match_info["bucket"]
        if namespace != NAMESPACE or name not in self.storage.buckets:
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
    signatures = SignatureCheck(storage.credentials)
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
        app.router.add_route(method, path, _handler(storage, signatures, answer))
    return app


def _handler(
    storage: FakeObjectStorage, signatures: SignatureCheck, answer: Answer
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def handle(request: web.Request) -> web.StreamResponse:
        storage.requests.append(request)
        body = await request.read()
        try:
            signatures.verify(
                SignedRequest(request.method, request.raw_path, request.headers, body, streamed=request.method == "PUT")
            )
            if storage.refusals:
                raise storage.refusals.pop(0)
            return answer(_Request(storage, request, body))
        except ServiceError as error:
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
