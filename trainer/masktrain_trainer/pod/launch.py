"""How this pod takes part in the gang, read once from its environment: configuration, ranks, folders, the command."""

import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from masktrain_trainer.config import (
    CONFIG_VARIABLE,
    PROGRESS_PORT,
    RENDEZVOUS_PORT,
    WORKSPACE,
    RunConfig,
)
from masktrain_trainer.config.explain import first_problem
from masktrain_trainer.data.cpu_limit import cpu_limit
from masktrain_trainer.errors import InvalidConfiguration
from masktrain_trainer.heartbeat import RENDEZVOUS_TIMEOUT_SECONDS
from masktrain_trainer.run_directory import RunDirectory

# A pod needs none of these: tests and other machines move its paths by them.
WORKSPACE_VARIABLE = "MASKTRAIN_WORKSPACE"
SHARED_MEMORY_VARIABLE = "MASKTRAIN_SHARED_MEMORY"
TERMINATION_LOG_VARIABLE = "MASKTRAIN_TERMINATION_LOG"
PROGRESS_PORT_VARIABLE = "MASKTRAIN_PROGRESS_PORT"


@dataclass(frozen=True)
class Paths:
    """`progress_port` 0 lets the system choose a port."""

    workspace: Path = Path(WORKSPACE)
    shared_memory: Path = Path("/dev/shm")  # noqa: S108 - the pod's memory volume
    termination_log: Path = Path("/dev/termination-log")
    progress_port: int = PROGRESS_PORT

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Paths":
        return cls(
            workspace=Path(environment.get(WORKSPACE_VARIABLE, str(cls.workspace))),
            shared_memory=Path(environment.get(SHARED_MEMORY_VARIABLE, str(cls.shared_memory))),
            termination_log=Path(environment.get(TERMINATION_LOG_VARIABLE, str(cls.termination_log))),
            progress_port=int(environment.get(PROGRESS_PORT_VARIABLE, cls.progress_port)),
        )

    @property
    def data(self) -> Path:
        """The prepared data set: `prepared.json`, image cache, labels."""
        return self.workspace / "data"

    @property
    def run(self) -> RunDirectory:
        return RunDirectory(self.workspace / "run")

    @property
    def spool(self) -> Path:
        """Snapshots between the training process and the uploader, in memory."""
        return self.shared_memory / "masktrain" / "spool"


_WORKER_MODULE = "masktrain_trainer.train.worker"

ALLOCATOR_VARIABLE = "GLIBC_TUNABLES"
KEEP_FREED_MEMORY = f"glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold={1 << 40}"
"""Large blocks come from the heap and stay in it. Otherwise a step gives its activations back to the system and gets
cleared pages for the next one's: 60,000 page faults and a seventh of the CPU's time, for yolov5n at 320 px, batch 16.
What a rank holds at most grows by up to a tenth."""

NAMED_PEERS = 4
"""As many as a sentence can take."""


@dataclass(frozen=True)
class Launch:
    config: RunConfig
    nodes: int
    ranks_per_node: int
    node_rank: int
    master_address: str
    master_port: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Launch":
        """Raises UserError if the operator's variables are missing or unreadable."""
        return cls(
            config=_read_config(environment),
            nodes=_read_count(environment, "PET_NNODES", 1),
            ranks_per_node=_read_count(environment, "PET_NPROC_PER_NODE", 1),
            node_rank=_read_count(environment, "PET_NODE_RANK", 0),
            master_address=environment.get("PET_MASTER_ADDR", "127.0.0.1"),
            master_port=_read_count(environment, "PET_MASTER_PORT", RENDEZVOUS_PORT),
        )

    @property
    def leads(self) -> bool:
        """Whether rank 0 lives here, and with it the uploader and the attempt's progress."""
        return self.node_rank == 0

    @property
    def idle_limit_seconds(self) -> int:
        """For what has no heartbeat: a short hang timeout is meant for training, and a slow disk may keep a stage from
        the CPU for minutes.
        """
        return max(self.config.hang_timeout_seconds, 300)

    def unconnected(self, host: str) -> str:
        """What to look at when the pods of the gang do not reach each other; `host` is this pod's name."""
        return (
            f"{host} has not connected with {self._peers(host)}: check that those pods run, and that NetworkPolicies "
            "and the security lists or network security groups of the nodes' subnets let the pods reach each other on "
            "all TCP ports; NCCL_DEBUG=INFO in compute.env makes NCCL log what it tries."
        )

    def _peers(self, host: str) -> str:
        """The other pods' names, which differ in the completion index alone."""
        own = f"-{self.node_rank}"
        if not host.endswith(own):
            return "the other pods" if self.leads else self.master_address
        names = [f"{host.removesuffix(own)}-{number}" for number in range(self.nodes) if number != self.node_rank]
        if len(names) > NAMED_PEERS:
            return f"{', '.join(names[:NAMED_PEERS])} and {len(names) - NAMED_PEERS} more"
        return " and ".join(names)

    @property
    def local_ranks(self) -> range:
        return range(self.ranks_per_node)


ONE_NODE_RENDEZVOUS = "masktrain-one-node"
"""The rendezvous backend of a gang that is alone on one node; `torchrun.py` registers it."""


def torchrun_command(launch: Launch, paths: Paths) -> list[str]:
    """Torchrun, supervised by this process: the gang is complete or it does not train (no elastic restarts).

    Its own FQDN look-up would wait for reverse DNS, so the local address is given.
    """
    return [
        *(sys.executable, "-m", "masktrain_trainer.pod.torchrun", str(os.getpid())),
        f"--nnodes={launch.nodes}",
        f"--nproc-per-node={launch.ranks_per_node}",
        f"--node-rank={launch.node_rank}",
        *_rendezvous(launch),
        f"--rdzv-conf=timeout={RENDEZVOUS_TIMEOUT_SECONDS}",
        f"--local-addr={socket.gethostname()}",
        "--max-restarts=0",  # the operator restarts whole gangs
        "--monitor-interval=0.2",
        # In the workspace, since the rest of a pod's file system is read-only.
        f"--log-dir={paths.run.torchrun_logs}",
        *("-m", _WORKER_MODULE, "--run-directory", str(paths.run.root), "--data", str(paths.data)),
        *("--spool", str(paths.spool)),
    ]


def _rendezvous(launch: Launch) -> list[str]:
    if launch.nodes == 1:
        return [f"--rdzv-backend={ONE_NODE_RENDEZVOUS}", "--rdzv-endpoint=localhost"]
    return [f"--master-addr={launch.master_address}", f"--master-port={launch.master_port}"]


def worker_environment(launch: Launch, environment: Mapping[str, str], interfaces: Sequence[str]) -> dict[str, str]:
    """Defaults for torch's processes; what the user set wins."""
    defaults = {
        # torchrun itself would give each of several ranks one thread.
        "OMP_NUM_THREADS": str(max(1, cpu_limit() // launch.ranks_per_node)),
        ALLOCATOR_VARIABLE: KEEP_FREED_MEMORY,
    }
    interface = _interface(launch, interfaces)
    if interface:
        defaults["GLOO_SOCKET_IFNAME"] = interface
    if launch.nodes == 1:
        # On several nodes NCCL finds the fast networks by itself.
        defaults["NCCL_SOCKET_IFNAME"] = "lo"
    return {**defaults, **environment}


def network_interfaces(folder: Path = Path("/sys/class/net")) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []


def _interface(launch: Launch, interfaces: Sequence[str]) -> str | None:
    """Named outright, because gloo otherwise resolves the host's name and may find an address no peer can reach.

    Within a node ranks listen where nobody else can connect.
    """
    if launch.nodes == 1:
        return "lo"
    # The name that Kubernetes' network plugins give to a pod's interface.
    return "eth0" if "eth0" in interfaces else None


def _read_config(environment: Mapping[str, str]) -> RunConfig:
    text = environment.get(CONFIG_VARIABLE)
    if text is None:
        raise InvalidConfiguration(
            f"{CONFIG_VARIABLE} is not set: the operator starts this container and puts the job's configuration there.",
        )
    try:
        return RunConfig.model_validate_json(text)
    except ValidationError as error:
        raise InvalidConfiguration(
            f"{CONFIG_VARIABLE} does not fit this trainer image: {first_problem(error)}."
        ) from error


def _read_count(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise InvalidConfiguration(f"{name} must be a whole number, not {text!r}.")
    return int(text)
