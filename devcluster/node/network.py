"""The cluster's one network, what a node is told of it, and its pods' part: namespace, veth pair and address each."""

import dataclasses
import itertools
import json
import subprocess
import threading
from pathlib import Path
from typing import Self

BRIDGE = "cluster0"
ADDRESS = "10.77.0.1"  # of the control plane, the name server, the object store and the cloud on the bridge
NETWORK_PREFIX = 16
FIRST_HOST, LAST_HOST = 2, 254


@dataclasses.dataclass(frozen=True)
class NodeConfig:
    """A machine of the cluster. `index` is unique in the cluster and gives the node's address and its pods' subnet."""

    name: str
    index: int
    gpus: int
    state: str
    images: str
    kubelet: str
    streaming: str
    kubelet_arguments: tuple[str, ...]

    @property
    def address(self) -> str:
        """The node's own address on the cluster's bridge."""
        return f"10.77.1.{self.index}"

    @property
    def pod_subnet(self) -> str:
        """The first three octets of its pods' addresses."""
        return f"10.77.{100 + self.index}"

    def write(self, path: Path) -> None:
        """Store as JSON."""
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load what `write` stored."""
        fields = json.loads(path.read_text())
        return cls(**{**fields, "kubelet_arguments": tuple(fields["kubelet_arguments"])})


def run_ip(commands: list[str], *options: str) -> None:
    """Run several `ip` commands in one process; the first failure raises CalledProcessError."""
    batch = "\n".join(commands)
    subprocess.run(["ip", *options, "-batch", "-"], input=batch, text=True, check=True, capture_output=True)


class PodNetwork:
    """The pod addresses of one node. An address comes back into use as late as possible."""

    def __init__(self, subnet: str) -> None:
        """Use `subnet`, the first three octets."""
        self._subnet = subnet
        self._hosts = itertools.cycle(range(FIRST_HOST, LAST_HOST + 1))
        self._used: dict[str, str] = {}
        self._lock = threading.Lock()

    def connect(self, pod: str) -> str:
        """Create namespace and link for the sandbox id `pod`; returns its address."""
        address = self._allocate(pod)
        link = _link(pod)
        run_ip(
            [
                f"netns add {pod}",
                f"link add {link} type veth peer name eth0 netns {pod}",
                f"link set {link} master {BRIDGE} up",
            ]
        )
        run_ip(
            [
                "link set lo up",
                f"addr add {address}/{NETWORK_PREFIX} dev eth0",
                "link set eth0 up",
                f"route add default via {ADDRESS}",
            ],
            "-netns",
            pod,
        )
        return address

    def disconnect(self, pod: str) -> None:
        """Remove link and namespace, if they are there."""
        with self._lock:
            address = self._used.pop(pod, None)
        if address:
            # Forced, so that the second goes even if the first is gone already.
            run_ip([f"link del {_link(pod)}", f"netns del {pod}"], "-force")

    def _allocate(self, pod: str) -> str:
        with self._lock:
            taken = set(self._used.values())
            # Once round at most: the cycle itself has no end.
            candidates = (f"{self._subnet}.{host}" for host in itertools.islice(self._hosts, LAST_HOST))
            free = next((address for address in candidates if address not in taken), None)
            if free is None:
                raise OSError(f"no pod address left in {self._subnet}.0/24")
            self._used[pod] = free
            return free


def _link(pod: str) -> str:
    # Names of links hold 15 characters.
    return f"pod{pod[:10]}"
