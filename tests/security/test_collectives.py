"""Nobody runs code in a rank by way of its network: neither as a rank of the gang nor from outside."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch.distributed as dist

from devcluster.layout import REPOSITORY
from masktrain_trainer.heartbeat import Activity, read_heartbeat
from masktrain_trainer.run_directory import RunDirectory
from tests.ddp.pod import Pod
from tests.ddp.ports import free_port
from tests.ddp.tiny_dataset import write_dataset

OWN_NETWORK = ("unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")


def start_rank(role: str, rank: int, port: int, proof: Path | int) -> subprocess.Popen[str]:
    environment = {"RANK": rank, "LOCAL_RANK": 0, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 1, "MASTER_PORT": port}
    own = {"MASTER_ADDR": "127.0.0.1", "MASKTRAIN_DEVICE": "cpu", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.security.rank_under_attack", role, str(proof)],
        env={**os.environ, **own, **{name: str(value) for name, value in environment.items()}},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize("rank", [0, 1])
def test_a_stranger_that_joined_as_a_rank_runs_no_code_in_the_other(rank: int, tmp_path: Path) -> None:
    """Of three collectives rank 0 reads the gathered ones, rank 1 one of them and what is broadcast."""
    port, proof = free_port(), tmp_path / "proof"
    ours = start_rank("victim", rank, port, proof)
    strangers = start_rank("stranger", 1 - rank, port, proof)
    said, _ = ours.communicate(timeout=240)
    strangers.communicate(timeout=240)
    assert ours.returncode == 0
    executed_in = proof.read_text().split() if proof.exists() else []  # the stranger reads its own messages, too
    assert str(ours.pid) not in executed_in
    # Gloo has its own word on standard output first.
    assert said.splitlines()[-1] == "2"


@pytest.mark.parametrize("length", [1 << 40, -1])
@pytest.mark.parametrize(("rank", "refused"), [(0, "2"), (1, "3")])
def test_a_length_of_a_terabyte_takes_no_memory(rank: int, refused: str, length: int) -> None:
    """Attack: eight bytes, upon which a rank pads its own message with as many zeros as the node has memory."""
    port = free_port()
    ours = start_rank("victim", rank, port, 0)
    strangers = start_rank("boaster", 1 - rank, port, length)
    said, _ = ours.communicate(timeout=240)
    strangers.communicate(timeout=240)
    assert ours.returncode == 0
    assert said.splitlines()[-1] == refused


COLLECTIVES_OF_OBJECTS = sorted(name for name in vars(dist) if "object" in name)


@pytest.mark.parametrize("name", [*COLLECTIVES_OF_OBJECTS, "rpc"])
def test_the_linter_refuses_what_unpickles_bytes_of_the_network(name: str) -> None:
    command = [
        str(Path(sys.executable).with_name("ruff")),
        "check",
        "--select=TID251",
        "--stdin-filename=trainer/new.py",
        "-",
    ]
    source = f"import torch.distributed as dist\n\ndist.{name}\n"
    done = subprocess.run(command, input=source, text=True, capture_output=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 1, done.stdout
    assert f"`torch.distributed.{name}` is banned" in done.stdout


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    """Of one node with two ranks, in a network of its own: whatever listens there is the pod's."""
    if os.geteuid() != 0:
        pytest.skip("a network of its own takes root")
    dataset = write_dataset(tmp_path / "tiny.zip")
    pod = Pod(tmp_path / "pod", tmp_path / "store", dataset, {"epochs": 1000}, launcher=OWN_NETWORK).start()
    yield pod
    pod.kill()


def test_a_pod_that_is_alone_listens_for_nobody_but_who_asks_for_its_progress(pod: Pod) -> None:
    wait_until_training(pod)
    listening = list(listening_sockets(pod.process.pid))
    assert {port for address, port in listening if not is_loopback(address)} == {pod.port}
    # The ranks do talk to each other, and over the network's own machine only.
    assert [port for address, port in listening if is_loopback(address)]


def wait_until_training(pod: Pod) -> None:
    heartbeat = RunDirectory(pod.folder / "workspace" / "run").heartbeat(0)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and pod.process.poll() is None:
        beat = read_heartbeat(heartbeat)
        if beat is not None and beat.activity is Activity.TRAINING:
            return
        time.sleep(0.05)
    raise AssertionError(f"the pod never got there; its log:\n{pod.log}")


def listening_sockets(pid: int) -> Iterator[tuple[str, int]]:
    """Address (in the kernel's hexadecimal) and port of all TCP listeners and UDP sockets of the process' network."""
    for table in ("tcp", "tcp6", "udp", "udp6"):
        _, *rows = Path(f"/proc/{pid}/net/{table}").read_text().splitlines()
        for row in rows:
            fields = row.split()
            address, _, port = fields[1].partition(":")
            if fields[3] in ("0A", "07"):  # LISTEN of TCP, unconnected of UDP
                yield address, int(port, 16)


def is_loopback(address: str) -> bool:
    """Little-endian words: 127.0.0.0/8, ::1, and the former as an IPv6 address."""
    words = (address[-8:], address[:-8])
    return (words[0].endswith("7F") and words[1] in ("", "0000000000000000FFFF0000")) or words == (
        "01000000",
        "000000000000000000000000",
    )
