"""A real S3 server and a folder, so that one suite runs against both."""

import os
import secrets
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from masktrain_trainer.config import SecretRef, StoreSpec
from masktrain_trainer.stores import Store, open_store
from tests.devcluster import binaries
from tests.devcluster.layout import cache
from tests.devcluster.waiting import wait_until

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


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each kind."""
    if request.param == "folder":
        return open_store((tmp_path / "a store").as_uri(), None, None)
    spec, credentials = request.getfixturevalue("s3_spec")
    return open_store(f"s3://{BUCKET}/{tmp_path.name}", spec, credentials)


def versitygw() -> Path:
    """The built server; without it the tests are skipped, where nobody can overlook that."""
    program = cache() / "bin" / binaries._build_key() / "versitygw"
    if not program.exists():
        sentence = "The S3 server is not built: run `python -m tests.devcluster binaries` (about 12 minutes, once)."
        pytest.fail(sentence) if os.environ.get("CI") == "true" else pytest.skip(sentence)
    return program


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
