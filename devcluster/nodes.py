"""The cluster's machines: what they look like to Kubernetes, and how one comes and goes."""

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from devcluster.node.network import ADDRESS, BRIDGE, NETWORK_PREFIX, NodeConfig
from devcluster.processes.daemons import Daemon, Daemons
from devcluster.processes.namespaces import Namespaces, python_environment
from devcluster.programs.build import ensure_interfaces

from .control_plane import CLUSTER_DOMAIN, ControlPlane
from .layout import NAME_PATTERN, ClusterLayout
from .waiting import wait_until

# 100 + index is the third octet of the pods' addresses, which ends at 255.
HIGHEST_INDEX = 150
GPU_TAINT = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
KUBELET_PORT = 10250


@dataclasses.dataclass(frozen=True)
class NodeSpec:
    """A machine as Oracle Kubernetes Engine would present it. An empty `provider_id` is made up from the name."""

    name: str
    gpus: int = 0
    shape: str = "VM.GPU3.2"
    region: str = "iad"
    zone: str = "US-ASHBURN-AD-1"
    fault_domain: str = "FAULT-DOMAIN-1"
    provider_id: str = ""
    labels: dict[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise ValueError(f"node name {self.name!r}: use up to 42 lower-case letters, digits and inner hyphens")

    @property
    def taints(self) -> list[dict[str, str]]:
        """GPU nodes repel everything that does not ask for them."""
        return [GPU_TAINT] if self.gpus else []

    @property
    def instance(self) -> str:
        """Managed nodes carry the bare instance OCID as provider id."""
        return self.provider_id or f"ocid1.instance.oc1.{self.region}.{hashlib.sha256(self.name.encode()).hexdigest()}"

    @property
    def all_labels(self) -> dict[str, str]:
        """The labels of a managed OKE node that its kubelet may set itself."""
        return {
            "node.kubernetes.io/instance-type": self.shape,
            "beta.kubernetes.io/instance-type": self.shape,
            "topology.kubernetes.io/region": self.region,
            "topology.kubernetes.io/zone": self.zone,
            "failure-domain.beta.kubernetes.io/region": self.region,
            "failure-domain.beta.kubernetes.io/zone": self.zone,
            "oci.oraclecloud.com/fault-domain": self.fault_domain,
            "oci.oraclecloud.com/node.info.managed": "true",
            "hostname": self.name,
            "displayName": self.name,
            **self.labels,
        }


def cpu_node(name: str = "cpu-0") -> NodeSpec:
    """A node without GPUs and taints, for operators and system pods."""
    return NodeSpec(name=name, shape="VM.Standard.E5.Flex")


class Nodes:
    """Adds, kills and removes the machines of one running cluster."""

    def __init__(self, layout: ClusterLayout, namespaces: Namespaces, control_plane: ControlPlane) -> None:
        """Work on the cluster whose namespaces these are."""
        self._layout = layout
        self._namespaces = namespaces
        self._control_plane = control_plane
        self._daemons = Daemons(layout, namespaces)

    def start(self, spec: NodeSpec) -> None:
        """Switch a machine on; its kubelet registers it some seconds later."""
        with self._one_at_a_time():
            config = self._install(spec)
        self._namespaces.run("ip", "addr", "replace", f"{config.address}/{NETWORK_PREFIX}", "dev", BRIDGE)
        self._daemons.start(self._daemon(spec.name, self._layout.nodes / spec.name / "node.json"))

    def kill(self, name: str) -> None:
        """Let a machine vanish: kubelet and containers end at once, its address answers no more, the Node stays."""
        config = NodeConfig.read(self._layout.nodes / name / "node.json")
        first_process = _first_process(self._layout.nodes / name)
        self._daemons.kill(_daemon_name(name))
        self._namespaces.run("ip", "addr", "del", f"{config.address}/{NETWORK_PREFIX}", "dev", BRIDGE)
        gone = self._namespaces.proc / str(first_process)
        wait_until(lambda: not gone.exists(), f"the processes of node {name} to end", seconds=30)

    def discard(self, name: str) -> None:
        """Kill a machine if it still runs, and delete its disk."""
        if self.alive(name):
            self.kill(name)
        self._daemons.forget(_daemon_name(name))
        shutil.rmtree(self._layout.nodes / name)

    def alive(self, name: str) -> bool:
        """Whether the machine is switched on."""
        return self._daemons.alive(_daemon_name(name))

    def last_words(self, name: str) -> str:
        """The end of the machine's log."""
        return self._daemons.last_words(_daemon_name(name))

    def names(self) -> list[str]:
        """All machines, killed ones included."""
        return sorted(path.parent.name for path in self._layout.nodes.glob("*/node.json"))

    def _install(self, spec: NodeSpec) -> NodeConfig:
        state = self._layout.nodes / spec.name
        index = self._free_index()
        state.mkdir(mode=0o755)
        config = NodeConfig(
            name=spec.name,
            index=index,
            gpus=spec.gpus,
            state=str(state),
            images=str(self._layout.images),
            kubelet=str(self._control_plane.binaries["kubelet"]),
            streaming=str(self._control_plane.binaries["streaming"]),
            kubelet_arguments=(),
        )
        # In a second step: the arguments name the address, and that comes from the config.
        config = dataclasses.replace(config, kubelet_arguments=self._kubelet_arguments(spec, config))
        config.write(state / "node.json")
        return config

    @contextlib.contextmanager
    def _one_at_a_time(self) -> Iterator[None]:
        """Give an address to one machine at a time: tests and the fake cloud start theirs from different processes."""
        with (self._layout.nodes / ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _free_index(self) -> int:
        used = {NodeConfig.read(path).index for path in self._layout.nodes.glob("*/node.json")}
        return next(index for index in range(1, HIGHEST_INDEX) if index not in used)

    def _daemon(self, name: str, config: Path) -> Daemon:
        interfaces = ensure_interfaces(self._control_plane.binaries["kubelet"].parent)
        # --kill-child: what the daemon's identity names is unshare, and the node has to die with it.
        own = ("unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--propagation=private", "--")
        command = (*own, sys.executable, "-m", "devcluster.node", str(config))
        return Daemon(_daemon_name(name), command, python_environment(interfaces))

    def _kubelet_arguments(self, spec: NodeSpec, config: NodeConfig) -> tuple[str, ...]:
        settings = Path(config.state, "kubelet.json")
        settings.write_text(json.dumps(self._kubelet_settings(spec, config), indent=1))
        access = self._control_plane.kubeconfig(f"node:{spec.name}", group="system:nodes", name=f"node-{spec.name}")
        labels = ",".join(f"{name}={value}" for name, value in spec.all_labels.items())
        return (
            f"--config={settings}",
            f"--kubeconfig={access}",
            f"--hostname-override={spec.name}",
            f"--node-ip={config.address}",
            f"--node-labels={labels}",
        )

    def _kubelet_settings(self, spec: NodeSpec, config: NodeConfig) -> dict[str, object]:
        authority = self._control_plane.authority
        # By index, too: a machine that comes back may have another address, and a certificate is issued once a name.
        certificate, key = authority.issue(
            f"kubelet-{spec.name}-{config.index}", config.address, spec.name, user=f"system:node:{spec.name}"
        )
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": config.address,
            "port": KUBELET_PORT,
            # All kubelets share the cluster's network: the second one would find the port taken.
            "healthzPort": 0,
            "containerRuntimeEndpoint": "unix:///run/cri.sock",
            "authentication": {"x509": {"clientCAFile": str(authority.certificate)}, "webhook": {"enabled": True}},
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(certificate),
            "tlsPrivateKeyFile": str(key),
            "clusterDNS": [ADDRESS],
            "clusterDomain": CLUSTER_DOMAIN,
            "providerID": spec.instance,
            "registerWithTaints": spec.taints,
            # Heartbeats stay Kubernetes' own; a changed status (a GPU that appears) is told sooner.
            "nodeStatusUpdateFrequency": "1s",
            "nodeStatusReportFrequency": "5m",
            "serializeImagePulls": False,
            # The containers are plain processes: neither cgroups nor disk quotas are kept for them.
            "failCgroupV1": False,
            "cgroupsPerQOS": False,
            "enforceNodeAllocatable": [],
            "cgroupDriver": "cgroupfs",
            "localStorageCapacityIsolation": False,
            "makeIPTablesUtilChains": False,
            # Nothing of the machine's name servers: pods that need them would only work here.
            "resolvConf": "",
            "failSwapOn": False,
            # Memory and disk are the machine's own: pods would be evicted for what others use of them.
            "evictionHard": dict.fromkeys(("memory.available", "nodefs.available", "imagefs.available"), "0%"),
            # Never: an image takes no space of its own that could be freed.
            "imageGCHighThresholdPercent": 100,
        }


def _daemon_name(node: str) -> str:
    return f"node-{node}"


def _first_process(state: Path) -> int:
    return int((state / "pid").read_text())
