"""The fake as a process of its own, as a campaign or a newcomer runs it."""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import oci
import pytest

from devcluster.layout import REPOSITORY
from devcluster.oracle.running import RemoteFakeOci
from devcluster.oracle.signing import Credentials
from devcluster.waiting import wait_until

POOL = {"id": "pool", "size": 1, "accept_seconds": 0, "provision_seconds": 0, "boot_seconds": 0}


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "pools.json").write_text(json.dumps([POOL]))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "devcluster.oracle", f"--port={port}", f"--pools={tmp_path / 'pools.json'}"]
    command.append(f"--credentials={tmp_path / 'key.json'}")
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as process:
        wait_until(RemoteFakeOci(f"http://127.0.0.1:{port}").answers, "the fake to answer", seconds=30)
        yield f"http://127.0.0.1:{port}"
        process.terminate()


def test_the_process_serves_the_sdk_and_its_switches(endpoint: str, tmp_path: Path) -> None:
    remote = RemoteFakeOci(endpoint)
    wait_until(lambda: len(remote.ledger().entries()) == 1, "the instance", seconds=10)
    config = oci.config.from_file(str(Credentials.load(tmp_path / "key.json").write_config_file(tmp_path)))
    client = oci.container_engine.ContainerEngineClient(config, service_endpoint=endpoint)
    with client.base_client.session:
        assert [node.lifecycle_state for node in client.get_node_pool("pool").data.nodes] == ["ACTIVE"]
    assert [call.operation for call in remote.log().calls] == ["get_node_pool"]
    with pytest.raises(ValueError, match="no pool 'other'"):
        remote.control("hide_pool", pool_id="other")
