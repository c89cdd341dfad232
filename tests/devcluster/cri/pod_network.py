"""Pod networks: a network namespace, a veth pair to the cluster's bridge and one address for each pod."""

import itertools
import subprocess
import threading

BRIDGE = "cluster0"
GATEWAY = "10.77.0.1"
PREFIX_LENGTH = 16
FIRST_HOST, LAST_HOST = 2, 254


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
                f"addr add {address}/{PREFIX_LENGTH} dev eth0",
                "link set eth0 up",
                f"route add default via {GATEWAY}",
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
            run_ip([f"link del {_link(pod)}", f"netns del {pod}"], "-force")

    def _allocate(self, pod: str) -> str:
        with self._lock:
            taken = set(self._used.values())
            candidates = (f"{self._subnet}.{host}" for host in itertools.islice(self._hosts, LAST_HOST))
            free = next((address for address in candidates if address not in taken), None)
            if free is None:
                raise OSError(f"no pod address left in {self._subnet}.0/24")
            self._used[pod] = free
            return free


def _link(pod: str) -> str:
    return f"pod{pod[:10]}"
