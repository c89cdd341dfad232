"""From the CRI's description of a container and its image to what the launcher needs."""

from pathlib import Path
from typing import Any

from tests.devcluster.container.credentials import CAPABILITIES, bounding_set
from tests.devcluster.container.spec import Bind, ContainerSpec, Credentials
from tests.devcluster.cri.sandbox import Sandbox
from tests.devcluster.images import Image


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
