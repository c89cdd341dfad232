"""A pod's sandbox and its containers as the Container Runtime Interface sees them, and what the launcher is told."""

import dataclasses
import signal
import time
from pathlib import Path
from typing import Any

from masktrain_cri import runtime_pb2 as cri

from devcluster.images import Image
from devcluster.node.container.confinement import CAPABILITIES, bounding_set
from devcluster.node.container.spec import Bind, ContainerSpec, Credentials

from .process import ContainerLog, ContainerProcess, StartError


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
            # Empty for pods on the node's network: the kubelet fills in the node's own.
            network=cri.PodSandboxNetworkStatus(ip="" if self.on_node_network else self.address),
            linux=cri.LinuxPodSandboxStatus(namespaces=cri.Namespace(options=options)),
            labels=self.config.labels,
            annotations=self.config.annotations,
        )


def container_spec(config: Any, image: Image, sandbox: Sandbox, root: Path) -> ContainerSpec:
    """Combine a CRI ContainerConfig with its image. Raises ValueError when there is nothing to run."""
    security = config.linux.security_context
    hostname = sandbox.config.hostname or sandbox.config.metadata.name
    resolver = Bind(str(sandbox.folder / "resolv.conf"), "/etc/resolv.conf", read_only=True)
    return ContainerSpec(
        root=str(root),
        hostname=hostname,
        network=sandbox.network_namespace,
        argv=command_line(list(config.command), list(config.args), image),
        environment={"HOSTNAME": hostname, **image.environment, **_variables(config)},
        directory=config.working_dir or "/",
        credentials=_credentials(security, image),
        image_binds=tuple(Bind(path, path, read_only=True) for path in image.paths),
        mounts=(resolver, *(Bind(m.host_path, m.container_path, m.readonly) for m in config.mounts)),
        devices=tuple(Bind(device.host_path, device.container_path, read_only=False) for device in config.devices),
        read_only_root=security.readonly_rootfs,
        privileged=security.privileged,
        masked_paths=tuple(security.masked_paths),
        read_only_paths=tuple(security.readonly_paths),
    )


def command_line(command: list[str], arguments: list[str], image: Image) -> tuple[str, ...]:
    """Kubernetes' rule: `command` replaces entrypoint and image command, `args` alone the image command."""
    if command:
        return (*command, *arguments)
    argv = (*image.entrypoint, *(arguments or image.command))
    if not argv:
        raise ValueError(f"no command specified: neither the pod nor image {image.name} names a program")
    return argv


def _variables(config: Any) -> dict[str, str]:
    return {variable.key: bytes(variable.value).decode() for variable in config.envs}


def _credentials(security: Any, image: Image) -> Credentials:
    uid = security.run_as_user.value if security.HasField("run_as_user") else image.user
    # A pod that names another user than the image leaves the group to the runtime: 0, as containerd has it.
    image_group = image.group if uid == image.user else 0
    gid = security.run_as_group.value if security.HasField("run_as_group") else image_group
    add, drop = list(security.capabilities.add_capabilities), list(security.capabilities.drop_capabilities)
    return Credentials(
        uid=uid,
        gid=gid,
        groups=tuple(security.supplemental_groups),
        capabilities=tuple(CAPABILITIES) if security.privileged else bounding_set(add, drop),
        no_new_privileges=security.no_new_privs,
    )


@dataclasses.dataclass
class Container:
    """One container of a sandbox. `config` is the CRI ContainerConfig."""

    id: str
    sandbox: Sandbox
    config: Any
    image: Image
    folder: Path
    created_at: int = dataclasses.field(default_factory=time.time_ns)
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    message: str = ""
    process: ContainerProcess | None = None

    @property
    def spec_path(self) -> Path:
        """Where the launcher's instructions are."""
        return self.folder / "spec.json"

    @property
    def log_path(self) -> Path:
        """Where kubelet looks for the log."""
        return Path(self.sandbox.config.log_directory, self.config.log_path)

    @property
    def state(self) -> int:
        """The CRI state."""
        if self.finished_at:
            return int(cri.CONTAINER_EXITED)
        return int(cri.CONTAINER_RUNNING if self.started_at else cri.CONTAINER_CREATED)

    def prepare(self) -> None:
        """Write what the launcher needs. Raises ValueError for a container that can never start."""
        root = self.folder / "root"
        root.mkdir(parents=True)
        # Whatever the umask is: the container's user must be able to walk through its own root.
        root.chmod(0o755)
        container_spec(self.config, self.image, self.sandbox, root).write(self.spec_path)

    def start(self) -> None:
        """Run the program. Raises StartError with the reason when that fails."""
        self.started_at = time.time_ns()
        try:
            self.process = ContainerProcess(self.spec_path, ContainerLog(self.log_path), self._ended)
        except StartError as error:
            self.message = str(error)
            raise
        # Whoever enters the container later finds its namespaces by this.
        (self.folder / "pid").write_text(str(self.process.pid))

    def stop(self, grace_seconds: float) -> None:
        """End the program, if it runs, within its grace period."""
        if self.process:
            self.process.stop(grace_seconds, _stop_signal(self.config))
        elif not self.finished_at:
            self.finished_at = time.time_ns()

    def _ended(self, code: int) -> None:
        self.exit_code, self.finished_at = code, time.time_ns()

    def summary(self) -> Any:
        """The entry of ListContainers."""
        return cri.Container(
            id=self.id,
            pod_sandbox_id=self.sandbox.id,
            metadata=self.config.metadata,
            image=self.config.image,
            image_ref=self.image.digest_reference,
            image_id=self.image.id,
            state=self.state,
            created_at=self.created_at,
            labels=self.config.labels,
            annotations=self.config.annotations,
        )

    def status(self) -> Any:
        """The answer of ContainerStatus."""
        return cri.ContainerStatus(
            id=self.id,
            metadata=self.config.metadata,
            state=self.state,
            created_at=self.created_at,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            reason=self._reason(),
            message=self.message,
            image=cri.ImageSpec(image=self.image.name, user_specified_image=self.config.image.user_specified_image),
            image_ref=self.image.digest_reference,
            image_id=self.image.id,
            labels=self.config.labels,
            annotations=self.config.annotations,
            mounts=self.config.mounts,
            log_path=str(self.log_path),
        )

    def _reason(self) -> str:
        if not self.finished_at:
            return ""
        if self.message:
            return "StartError"
        return "Completed" if self.exit_code == 0 else "Error"


def _stop_signal(config: Any) -> int:
    name = str(cri.Signal.Name(config.stop_signal)).removeprefix("SIGNAL_")
    # RUNTIME_DEFAULT, which most pods have, is the name of no signal.
    return int(getattr(signal, name, signal.SIGTERM))
