"""A real S3 server, a folder, and Oracle's SDK on the wire, so that one suite runs against all."""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from devcluster.layout import cache
from devcluster.oracle.object_storage import NAMESPACE, Bucket, FakeObjectStorage, serving_object_storage
from devcluster.oracle.signing import Credentials
from devcluster.programs import build
from devcluster.waiting import wait_until
from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.stores import Store, open_store

ACCESS_KEY = "AKTESTTESTTEST"
BUCKET = "checkpoints"


@pytest.fixture(scope="session")
def s3_spec(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[StoreSpec, Path]]:
    """A running versitygw with one bucket: how to reach it and the folder of its credentials."""
    program = versitygw()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    root, credentials = tmp_path_factory.mktemp("buckets"), tmp_path_factory.mktemp("credentials")
    (root / BUCKET).mkdir()
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30)}
    for name, value in keys.items():
        (credentials / name).write_text(f"{value}\n")
    command = [
        str(program),
        "--quiet",
        "--port",
        f"127.0.0.1:{port}",
        "posix",
        str(root),
    ]
    environment = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": keys["AWS_SECRET_ACCESS_KEY"], **os.environ}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        wait_until(lambda: _listens(port), "the S3 server", 20)
        secret = SecretRef(name="store-credentials")
        yield StoreSpec(endpoint=f"http://127.0.0.1:{port}", credentials_secret_ref=secret), credentials
        server.kill()


@pytest.fixture(scope="session")
def api_key() -> Credentials:
    return Credentials.create()


@pytest.fixture
def object_storage(api_key: Credentials) -> Iterator[FakeObjectStorage]:
    """Oracle's Object Storage with one bucket."""
    with serving_object_storage(FakeObjectStorage(api_key, {BUCKET: Bucket()})) as storage:
        yield storage


@pytest.fixture
def oci_spec(object_storage: FakeObjectStorage, tmp_path: Path) -> tuple[StoreSpec, Path]:
    """How to reach it, and the folder of a mounted Secret with the API key."""
    folder = tmp_path / "api-key"
    write_secret(object_storage.credentials, folder)
    secret = SecretRef(name="store-credentials")
    region = object_storage.credentials.region
    return StoreSpec(endpoint=object_storage.endpoint, region=region, credentials_secret_ref=secret), folder


def write_secret(key: Credentials, folder: Path) -> None:
    """One file for each key of the Secret, as kubelet mounts it."""
    folder.mkdir()
    content = {"tenancy": key.tenancy, "user": key.user, "fingerprint": key.fingerprint, "key": key.key_content}
    for name, value in content.items():
        (folder / name).write_text(f"{value}\n")


@pytest.fixture(params=["folder", "s3", "oci"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store((tmp_path / "a store").as_uri(), None, None)
    if request.param == "oci":
        return open_store(f"oci://{BUCKET}@{NAMESPACE}/{tmp_path.name}", *request.getfixturevalue("oci_spec"))
    spec, credentials = request.getfixturevalue("s3_spec")
    return open_store(f"s3://{BUCKET}/{tmp_path.name}", spec, credentials)


def versitygw() -> Path:
    """The built server; without it the tests are skipped, where nobody can overlook that."""
    program = cache() / "bin" / build._build_key() / "versitygw"
    if not program.exists():
        sentence = "The S3 server is not built: run `python -m devcluster binaries` (about 12 minutes, once)."
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)
    return program


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
