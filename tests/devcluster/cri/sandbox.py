"""A pod sandbox: what the containers of a pod share."""

import dataclasses
import time
from pathlib import Path
from typing import Any

from masktrain_cri import runtime_pb2 as cri


@dataclasses.dataclass
class Sandbox:
    """Network, name server settings and log folder of one pod. `config` is the CRI PodSandboxConfig."""

    id: str
    config: Any
    folder: Path
    address: str
    on_node_network: bool
    ready: bool = True
    created_at: int = dataclasses.field(default_factory=time.time_ns)

    @property
    def network_namespace(self) -> str:
        """Path of the pod's network namespace; empty on the node's own network."""
        return "" if self.on_node_network else f"/run/netns/{self.id}"

    @property
    def state(self) -> int:
        """The CRI state."""
        return int(cri.SANDBOX_READY if self.ready else cri.SANDBOX_NOTREADY)

    def write_resolver_settings(self) -> Path:
        """Write resolv.conf from the pod's DNS settings."""
        dns = self.config.dns_config
        lines = [f"nameserver {server}" for server in dns.servers]
        lines += [f"search {' '.join(dns.searches)}"] if dns.searches else []
        lines += [f"options {' '.join(dns.options)}"] if dns.options else []
        path = self.folder / "resolv.conf"
        path.write_text("\n".join(lines) + "\n")
        return path

    def summary(self) -> Any:
        """The entry of ListPodSandbox."""
        return cri.PodSandbox(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            labels=self.config.labels,
            annotations=self.config.annotations,
        )

    def status(self) -> Any:
        """The answer of PodSandboxStatus."""
        options = self.config.linux.security_context.namespace_options
        return cri.PodSandboxStatus(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            network=cri.PodSandboxNetworkStatus(ip="" if self.on_node_network else self.address),
            linux=cri.LinuxPodSandboxStatus(namespaces=cri.Namespace(options=options)),
            labels=self.config.labels,
            annotations=self.config.annotations,
        )
