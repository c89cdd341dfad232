"""A running cluster: what its users find in it and can do with it."""

import dataclasses
import json
import subprocess
from pathlib import Path
from typing import Self

from devcluster.processes.daemons import Daemons
from devcluster.processes.namespaces import Namespaces

from .control_plane import OBJECT_STORE_ENDPOINT, Authority, ControlPlane, ObjectStoreKeys
from .images import Image, Registry
from .layout import ClusterLayout
from .nodes import Nodes, NodeSpec, cpu_node
from .waiting import wait_until

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
    def with_gpu_nodes(
        cls, count: int, gpus_per_node: int, *, node_grace_seconds: int = NODE_GRACE_SECONDS, owner: int = 0
    ) -> Self:
        """One CPU node and `count` GPU nodes."""
        gpu_nodes = (
            NodeSpec(f"gpu-{n}", gpus_per_node, fault_domain=f"FAULT-DOMAIN-{n % 3 + 1}") for n in range(count)
        )
        return cls(nodes=(cpu_node(), *gpu_nodes), node_grace_seconds=node_grace_seconds, owner=owner)


class Cluster:
    """A running cluster. `kubeconfig` works from this machine."""

    def __init__(self, layout: ClusterLayout, namespaces: Namespaces) -> None:
        """Use `lifecycle.up` or `attach` instead."""
        settings = json.loads(layout.settings.read_text())
        self.layout = layout
        self.name = layout.name
        self.kubeconfig = layout.kubeconfig
        self.control_plane_only: bool = settings["control_plane_only"]
        self.namespaces = namespaces
        self.images = Registry(layout.images)
        self.daemons = Daemons(layout, namespaces)
        # Those that it was started with: the cache and KUBEBUILDER_ASSETS may hold others by now.
        self._binaries = {name: Path(path) for name, path in settings["binaries"].items()}
        self.control_plane = ControlPlane(layout, Authority(layout.pki), self._binaries, settings["node_grace_seconds"])
        self.nodes = Nodes(layout, namespaces, self.control_plane)

    @classmethod
    def attach(cls, name: str) -> Self:
        """The running cluster of that name. Raises ClusterError when there is none."""
        layout = ClusterLayout(name)
        namespaces = Namespaces.attach(layout.init)
        if namespaces is None or not layout.settings.exists():
            raise ClusterError(f"Cluster {name!r} is not running; start it with `python -m devcluster up`.")
        return cls(layout, namespaces)

    @property
    def s3_endpoint(self) -> str:
        """The object store as seen from this machine."""
        return f"http://127.0.0.1:{forwarder_ports(self.layout)['s3']}"

    @property
    def s3_endpoint_in_cluster(self) -> str:
        """The object store as seen from a pod."""
        return OBJECT_STORE_ENDPOINT

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
                # A signature has to name a region; versitygw's own is this one.
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

    def command(self, program: str, *arguments: str) -> list[str]:
        """The command line of kubectl or helm against this cluster, for a caller that follows its output."""
        return [str(self._binaries[program]), f"--kubeconfig={self.kubeconfig}", *arguments]

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
        # kubectl wait fails at once for an object that does not exist yet.
        conditions = ["create", "condition=Ready"]
        if spec.gpus:
            conditions.append(rf"jsonpath={{.status.allocatable.nvidia\.com/gpu}}={spec.gpus}")
        for condition in conditions:
            self._wait_for_living_node(spec.name, condition)

    def _wait_for_living_node(self, name: str, condition: str) -> None:
        arguments = ("wait", f"--for={condition}", f"node/{name}", f"--timeout={START_SECONDS}s")
        # The machine is watched beside it, because kubectl would wait for one that has died to the last second.
        with subprocess.Popen(self.command("kubectl", *arguments), stdout=subprocess.DEVNULL) as waiting:
            wait_until(
                lambda: waiting.poll() is not None or not self.nodes.alive(name), condition, seconds=START_SECONDS
            )
            waiting.kill()
        if waiting.returncode:
            raise ClusterError(
                f"Node {name!r} did not reach {condition}. Its last words:\n{self.nodes.last_words(name)}"
            )

    def _require_node(self, name: str) -> None:
        if name not in self.nodes.names():
            known = ", ".join(self.nodes.names()) or "none"
            raise ClusterError(f"Cluster {self.name!r} has no node {name!r} (it has: {known}).")

    def _run(self, program: str, *arguments: str, text: str | None = None) -> str:
        done = subprocess.run(
            self.command(program, *arguments), input=text, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise ClusterError(f"{program} {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout


def forwarder_ports(layout: ClusterLayout) -> dict[str, int]:
    """The ports on 127.0.0.1 that the forwarder chose, by name; 0 until then."""
    return {name: entry["port"] for name, entry in json.loads(layout.ports.read_text()).items()}
