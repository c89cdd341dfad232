"""A whole cluster: brought up, attached to, taken down."""

import contextlib
import dataclasses
import fcntl
import json
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from tests.devcluster.binaries import CONTROL_PLANE_ONLY, PROGRAMS, program_paths
from tests.devcluster.certificates import Authority
from tests.devcluster.control_plane import ADDRESS, API_PORT, BRIDGE, NETWORK_PREFIX, S3_PORT, SERVICE_ADDRESS
from tests.devcluster.control_plane import ControlPlane
from tests.devcluster.daemons import Daemon, Daemons
from tests.devcluster.images import SHELL_IMAGE, Image, Registry
from tests.devcluster.kubeconfig import write_kubeconfig
from tests.devcluster.layout import ClusterLayout
from tests.devcluster.namespaces import Namespaces, python_environment
from tests.devcluster.nodes import Nodes, NodeSpec, cpu_node
from tests.devcluster.object_store import IN_CLUSTER_ENDPOINT, ObjectStoreKeys, object_store
from tests.devcluster.progress import step
from tests.devcluster.waiting import wait_until

START_SECONDS = 120
NODE_GRACE_SECONDS = 50  # kube-controller-manager's own default


class ClusterError(RuntimeError):
    """Something the caller can act on, in one sentence."""


@dataclasses.dataclass(frozen=True)
class ClusterSettings:
    """What `up` was asked for. Without `nodes` the cluster is an API server and its etcd."""

    nodes: tuple[NodeSpec, ...] = ()
    control_plane_only: bool = False
    node_grace_seconds: int = NODE_GRACE_SECONDS
    owner: int = 0

    @classmethod
    def with_gpu_nodes(cls, count: int, gpus_per_node: int, **other: int) -> Self:
        """One CPU node and `count` GPU nodes."""
        gpu_nodes = (
            NodeSpec(f"gpu-{n}", gpus_per_node, fault_domain=f"FAULT-DOMAIN-{n % 3 + 1}") for n in range(count)
        )
        return cls(nodes=(cpu_node(), *gpu_nodes), **other)


class Cluster:
    """A running cluster. `kubeconfig` works from this machine."""

    def __init__(self, layout: ClusterLayout, namespaces: Namespaces) -> None:
        """Use `up` or `attach` instead."""
        settings = json.loads(layout.settings.read_text())
        self.layout = layout
        self.name = layout.name
        self.kubeconfig = layout.kubeconfig
        self.control_plane_only: bool = settings["control_plane_only"]
        self.namespaces = namespaces
        self.images = Registry(layout.images)
        self.daemons = Daemons(layout, namespaces)
        self._binaries = {name: Path(path) for name, path in settings["binaries"].items()}
        plane = ControlPlane(layout, Authority(layout.pki), self._binaries, settings["node_grace_seconds"])
        self.nodes = Nodes(layout, namespaces, plane)

    @classmethod
    def attach(cls, name: str) -> Self:
        """The running cluster of that name. Raises ClusterError when there is none."""
        layout = ClusterLayout(name)
        namespaces = Namespaces.attach(layout.init)
        if namespaces is None or not layout.settings.exists():
            raise ClusterError(f"Cluster {name!r} is not running; start it with `python -m tests.devcluster up`.")
        return cls(layout, namespaces)

    @property
    def s3_endpoint(self) -> str:
        """The object store as seen from this machine."""
        return f"http://127.0.0.1:{_ports(self.layout)['s3']}"

    @property
    def s3_endpoint_in_cluster(self) -> str:
        """The object store as seen from a pod."""
        return IN_CLUSTER_ENDPOINT

    @property
    def s3_keys(self) -> ObjectStoreKeys:
        """The object store's root account."""
        return ObjectStoreKeys.load(self.layout.object_store)

    @property
    def environment(self) -> dict[str, str]:
        """Variables that let kubectl, helm, boto3 and MaskTrain's tools find this cluster; PATH not included."""
        variables = {"KUBECONFIG": str(self.kubeconfig)}
        if not self.control_plane_only:
            keys = self.s3_keys
            variables |= {
                "AWS_ENDPOINT_URL": self.s3_endpoint,
                "AWS_ACCESS_KEY_ID": keys.access_key,
                "AWS_SECRET_ACCESS_KEY": keys.secret_key,
                "AWS_REGION": "us-east-1",
                "MASKTRAIN_S3_ENDPOINT_IN_CLUSTER": self.s3_endpoint_in_cluster,
            }
        return variables

    @property
    def programs(self) -> Path:
        """The folder with kubectl and helm."""
        return self._binaries["kubectl"].parent

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        """Run kubectl and return its standard output. Raises ClusterError with kubectl's own words."""
        return self._run("kubectl", *arguments, text=text)

    def helm(self, *arguments: str) -> str:
        """Run helm and return its standard output. Raises ClusterError with helm's own words."""
        return self._run("helm", *arguments)

    def add_image(self, image: Image) -> None:
        """Offer an image to the cluster's nodes."""
        self.images.add(image)

    def add_node(self, spec: NodeSpec) -> None:
        """Switch a machine on and wait until Kubernetes may use it, its GPUs included."""
        if spec.name in self.nodes.names():
            raise ClusterError(f"Cluster {self.name!r} already has a node {spec.name!r}.")
        self.nodes.start(spec)
        self.wait_for_node(spec)

    def kill_node(self, name: str) -> None:
        """Let a machine vanish as by a power cut; Kubernetes is not told."""
        self._require_node(name)
        if self.nodes.alive(name):
            self.nodes.kill(name)

    def remove_node(self, name: str) -> None:
        """End a machine and delete its Node, as a cloud's controller does."""
        self._require_node(name)
        self.nodes.discard(name)
        self.kubectl("delete", "node", name, "--ignore-not-found")

    def wait_for_node(self, spec: NodeSpec) -> None:
        """Return when the Node is Ready and shows its GPUs."""
        conditions = ["create", "condition=Ready"]
        if spec.gpus:
            conditions.append(rf"jsonpath={{.status.allocatable.nvidia\.com/gpu}}={spec.gpus}")
        for condition in conditions:
            self._wait_for_living_node(spec.name, condition)

    def _wait_for_living_node(self, name: str, condition: str) -> None:
        arguments = ("wait", f"--for={condition}", f"node/{name}", f"--timeout={START_SECONDS}s")
        with subprocess.Popen(self._command("kubectl", *arguments), stdout=subprocess.DEVNULL) as waiting:
            wait_until(
                lambda: waiting.poll() is not None or not self.nodes.alive(name), condition, seconds=START_SECONDS
            )
            waiting.kill()
        if waiting.returncode:
            raise ClusterError(f"Node {name!r} did not reach {condition}. Its last words:\n{self.nodes.last_words(name)}")

    def _require_node(self, name: str) -> None:
        if name not in self.nodes.names():
            known = ", ".join(self.nodes.names()) or "none"
            raise ClusterError(f"Cluster {self.name!r} has no node {name!r} (it has: {known}).")

    def _command(self, program: str, *arguments: str) -> list[str]:
        return [str(self._binaries[program]), f"--kubeconfig={self.kubeconfig}", *arguments]

    def _run(self, program: str, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(self._command(program, *arguments), input=text, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def up(name: str, settings: ClusterSettings) -> Cluster:
    """Start the cluster, or return the one that runs. Remains of a crashed one are removed first."""
    layout = ClusterLayout(name)
    needed = (*CONTROL_PLANE_ONLY, "kubectl") if settings.control_plane_only else PROGRAMS
    binaries = program_paths(needed)
    with _exclusive(layout):
        with contextlib.suppress(ClusterError):
            return Cluster.attach(name)
        _take_down(layout)
        try:
            return _start(layout, settings, binaries)
        except BaseException:
            _end_processes(layout)
            raise


def down(name: str) -> bool:
    """End the cluster and remove every trace of it; False when there was none."""
    layout = ClusterLayout(name)
    with _exclusive(layout):
        return _take_down(layout)


def _take_down(layout: ClusterLayout) -> bool:
    existed = layout.root.exists()
    _end_processes(layout)
    shutil.rmtree(layout.root, ignore_errors=False) if existed else None
    return existed


def _end_processes(layout: ClusterLayout) -> None:
    namespaces = Namespaces.attach(layout.init)
    if namespaces:
        namespaces.end()


@contextlib.contextmanager
def _exclusive(layout: ClusterLayout) -> Iterator[None]:
    layout.lock.parent.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(layout: ClusterLayout, settings: ClusterSettings, binaries: dict[str, Path]) -> Cluster:
    layout.create()
    namespaces = Namespaces.start(layout.init, settings.owner, layout.logs / "init.log")
    plane = ControlPlane(layout, Authority(layout.pki), binaries, settings.node_grace_seconds)
    daemons = Daemons(layout, namespaces)
    with step(f"Cluster {layout.name}: etcd and kube-apiserver"):
        _start_api(layout, namespaces, daemons, plane, settings)
    layout.settings.write_text(
        json.dumps(
            {
                "control_plane_only": settings.control_plane_only,
                "node_grace_seconds": settings.node_grace_seconds,
                "binaries": {program: str(path) for program, path in binaries.items()},
            }
        )
    )
    cluster = Cluster(layout, namespaces)
    if not settings.control_plane_only:
        _start_workers(cluster, plane, settings)
    return cluster


def _start_api(
    layout: ClusterLayout,
    namespaces: Namespaces,
    daemons: Daemons,
    plane: ControlPlane,
    settings: ClusterSettings,
) -> None:
    namespaces.run("ip", "-batch", "-", text="\n".join(_bridge_commands()))
    daemons.start(plane.etcd())
    daemons.start(plane.api_server())
    targets = {"api": {"target": [ADDRESS, API_PORT], "port": 0}}
    if not settings.control_plane_only:
        keys = ObjectStoreKeys.create(layout.object_store)
        daemons.start(object_store(plane.binaries["versitygw"], layout.buckets, keys))
        targets["s3"] = {"target": [ADDRESS, S3_PORT], "port": 0}
    layout.ports.write_text(json.dumps(targets))
    command = (sys.executable, "-S", "-m", "tests.devcluster.forwarder", str(layout.ports))
    daemons.start(Daemon("forwarder", command, python_environment(), network=False))
    wait_until(lambda: all(_ports(layout).values()), "the forwarder", START_SECONDS)
    certificate, key = plane.authority.issue("admin", user="admin", group="system:masters")
    server = f"https://127.0.0.1:{_ports(layout)['api']}"
    write_kubeconfig(layout.kubeconfig, server, plane.authority.certificate, certificate, key)
    _wait_for_api(server, plane.authority.certificate, daemons)


def _bridge_commands() -> list[str]:
    return [
        f"link add {BRIDGE} type bridge",
        f"addr add {ADDRESS}/{NETWORK_PREFIX} dev {BRIDGE}",
        f"addr add {SERVICE_ADDRESS}/32 dev {BRIDGE}",
        f"link set {BRIDGE} up",
    ]


def _ports(layout: ClusterLayout) -> dict[str, int]:
    return {name: entry["port"] for name, entry in json.loads(layout.ports.read_text()).items()}


def _wait_for_api(server: str, authority: Path, daemons: Daemons) -> None:
    trust = ssl.create_default_context(cafile=str(authority))

    def ready() -> bool:
        for name in CONTROL_PLANE_ONLY:
            if not daemons.alive(name):
                raise ClusterError(f"{name} ended while starting. Its last words:\n{daemons.last_words(name)}")
        try:
            with urllib.request.urlopen(f"{server}/readyz", context=trust, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    wait_until(ready, "kube-apiserver to become ready", START_SECONDS)


def _start_workers(cluster: Cluster, plane: ControlPlane, settings: ClusterSettings) -> None:
    with step(f"Cluster {cluster.name}: controllers, name server and {len(settings.nodes)} nodes"):
        for spec in settings.nodes:
            cluster.nodes.start(spec)
        for daemon in (plane.controller_manager(), plane.scheduler(), plane.name_server()):
            cluster.daemons.start(daemon)
        cluster.add_image(SHELL_IMAGE)
        for spec in settings.nodes:
            cluster.wait_for_node(spec)
        cluster.kubectl("wait", "--for=create", "serviceaccount/default", f"--timeout={START_SECONDS}s")
