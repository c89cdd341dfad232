"""What the pod's environment means, and what torchrun gets from it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from masktrain_trainer.config import CONFIG_VARIABLE, FailureReason
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.errors import UserError
from masktrain_trainer.pod.launch import (
    ALLOCATOR_VARIABLE,
    KEEP_FREED_MEMORY,
    ONE_NODE_RENDEZVOUS,
    Launch,
    Paths,
    torchrun_command,
    worker_environment,
)
from masktrain_trainer.pod.torchrun import RANK_PATIENCE_SECONDS

CONFIG = {
    "namespace": "team",
    "name": "masks",
    "uid": "u-1",
    "attempt": 3,
    "model": {},
    "dataset": {"uri": "s3://bucket/masks.zip"},
    "training": {},
    "checkpoint": {"uri": "s3://bucket/out"},
    "hangTimeoutSeconds": 60,
    "stopGraceSeconds": 30,
}


def environment(**variables: str) -> dict[str, str]:
    return {CONFIG_VARIABLE: json.dumps(CONFIG), **variables}


def test_the_operators_variables_reach_torchrun(tmp_path: Path) -> None:
    launch = Launch.from_environment(
        environment(PET_NNODES="2", PET_NPROC_PER_NODE="4", PET_NODE_RANK="1", PET_MASTER_ADDR="masks-3-0.masks")
    )
    command = torchrun_command(launch, Paths(workspace=tmp_path))
    assert not launch.leads
    assert command[1:4] == ["-m", "masktrain_trainer.pod.torchrun", str(os.getpid())]
    assert {"--nnodes=2", "--nproc-per-node=4", "--node-rank=1", "--master-addr=masks-3-0.masks"} <= set(command)
    assert "--master-port=29500" in command


@pytest.mark.parametrize(
    ("nodes", "rank", "host", "peers"),
    [
        (2, 0, "masks-3-0", "masks-3-1"),
        (2, 1, "masks-3-1", "masks-3-0"),
        (3, 1, "masks-3-1", "masks-3-0 and masks-3-2"),
        (12, 11, "masks-3-11", "masks-3-0, masks-3-1, masks-3-2, masks-3-3 and 7 more"),
        (2, 0, "laptop", "the other pods"),
        (2, 1, "laptop", "masks-3-0.masks"),
    ],
)
def test_pods_that_do_not_connect_are_named_on_both_sides(nodes: int, rank: int, host: str, peers: str) -> None:
    variables = {"PET_NNODES": str(nodes), "PET_NODE_RANK": str(rank), "PET_MASTER_ADDR": "masks-3-0.masks"}
    sentence = Launch.from_environment(environment(**variables)).unconnected(host)
    assert sentence.startswith(f"{host} has not connected with {peers}: check ")
    assert "NetworkPolicies" in sentence
    assert "NCCL_DEBUG=INFO" in sentence


def test_a_gang_on_one_node_meets_without_a_listening_store(tmp_path: Path) -> None:
    variables = environment(PET_NNODES="1", PET_MASTER_ADDR="masks-3-0.masks")
    launch = Launch.from_environment(variables)
    command = torchrun_command(launch, Paths(workspace=tmp_path))
    assert f"--rdzv-backend={ONE_NODE_RENDEZVOUS}" in command
    assert not [option for option in command if option.startswith("--master")]
    assert worker_environment(launch, variables, ["eth0", "lo"])["NCCL_SOCKET_IFNAME"] == "lo"


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({}, "MASKTRAIN_CONFIG is not set"),
        ({CONFIG_VARIABLE: "{"}, "MASKTRAIN_CONFIG does not fit this trainer image: the document"),
        (
            {CONFIG_VARIABLE: json.dumps({**CONFIG, "attempt": -1})},
            "attempt: input should be greater than or equal to 0",
        ),
        (environment(PET_NNODES="two"), "PET_NNODES must be a whole number, not 'two'"),
    ],
)
def test_a_broken_environment_is_one_sentence(variables: dict[str, str], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence.replace("(", r"\(")) as caught:
        Launch.from_environment(variables)
    assert caught.value.reason is FailureReason.INVALID_CONFIGURATION


@pytest.mark.parametrize(
    ("nodes", "interfaces", "variables", "expected"),
    [
        ("1", ["eth0", "lo"], {}, "lo"),
        ("2", ["eth0", "lo"], {}, "eth0"),
        ("2", ["ens3", "lo"], {}, None),
        ("2", ["eth0"], {"GLOO_SOCKET_IFNAME": "net1"}, "net1"),
    ],
)
def test_gloo_gets_an_interface_that_peers_can_reach(
    nodes: str, interfaces: list[str], variables: dict[str, str], expected: object
) -> None:
    variables = environment(PET_NNODES=nodes, **variables)
    chosen = worker_environment(Launch.from_environment(variables), variables, interfaces)
    assert chosen.get("GLOO_SOCKET_IFNAME") == expected


def test_each_rank_gets_its_share_of_the_cpus_unless_told_otherwise() -> None:
    variables = environment(PET_NPROC_PER_NODE="1000")
    assert worker_environment(Launch.from_environment(variables), variables, [])["OMP_NUM_THREADS"] == "1"
    told = {**variables, "OMP_NUM_THREADS": "7"}
    assert worker_environment(Launch.from_environment(told), told, [])["OMP_NUM_THREADS"] == "7"


def test_ranks_keep_freed_memory_unless_told_otherwise() -> None:
    variables = environment()
    chosen = worker_environment(Launch.from_environment(variables), variables, [])
    assert chosen[ALLOCATOR_VARIABLE] == KEEP_FREED_MEMORY
    told = {**variables, ALLOCATOR_VARIABLE: ""}
    assert worker_environment(Launch.from_environment(told), told, [])[ALLOCATOR_VARIABLE] == ""


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "1 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "1500", "cpu/cpu.cfs_period_us": "100000"}, 1),
    ],
)
def test_cgroup_quotas_of_both_versions_count(tmp_path: Path, files: dict[str, str], expected: object) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path) == expected


@pytest.mark.parametrize(
    "files", [{}, {"cpu.max": "max 100000"}, {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "1"}]
)
def test_without_a_quota_all_cpus_of_the_affinity_mask_count(tmp_path: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpu_limit(tmp_path) == len(os.sched_getaffinity(0))


def test_torchrun_without_its_supervisor_does_not_begin() -> None:
    nobody = subprocess.Popen([sys.executable, "-c", ""])
    nobody.wait()
    command = [sys.executable, "-m", "masktrain_trainer.pod.torchrun", str(nobody.pid), "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, f"the supervisor, process {nobody.pid}, is gone\n")


STUBBORN_RANK = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
ready, told = folder / "ready", folder / "told"
if os.environ["RANK"] == "1":
    while not ready.exists():
        time.sleep(0.01)
    sys.exit(1)
signal.signal(signal.SIGTERM, lambda *_: told.touch())
ready.touch()
while True:
    time.sleep(600)
"""


def test_ranks_that_are_left_by_one_that_failed_are_ended_soon(tmp_path: Path) -> None:
    (tmp_path / "rank.py").write_text(STUBBORN_RANK)
    command = [sys.executable, "-m", "masktrain_trainer.pod.torchrun", str(os.getpid()), "--nproc-per-node=2"]
    command += [f"--rdzv-backend={ONE_NODE_RENDEZVOUS}", "--rdzv-endpoint=localhost", "--monitor-interval=0.1"]
    command += [f"--log-dir={tmp_path}", str(tmp_path / "rank.py"), str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    waited = time.time() - (tmp_path / "told").stat().st_mtime
    assert "forcefully exiting" in ended.stderr
    # torchrun itself would give it 30 s.
    assert RANK_PATIENCE_SECONDS - 1 < waited < 20
