"""What the runtime tells the launcher about one container; travels as a JSON file."""

import dataclasses
import json
from pathlib import Path
from typing import Any, Self


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Who a process runs as and what it may do. `capabilities` names the bounding set, without the CAP_ prefix."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = True


@dataclasses.dataclass(frozen=True)
class Bind:
    """A host path shown at `target` inside the container."""

    source: str
    target: str
    read_only: bool


@dataclasses.dataclass(frozen=True)
class ContainerSpec:
    """Everything a container is made of; `network` is empty for a pod on the node's own network."""

    root: str
    hostname: str
    network: str
    argv: tuple[str, ...]
    environment: dict[str, str]
    directory: str
    credentials: Credentials
    image_binds: tuple[Bind, ...]
    mounts: tuple[Bind, ...]
    devices: tuple[Bind, ...]
    read_only_root: bool
    privileged: bool
    masked_paths: tuple[str, ...] = ()
    read_only_paths: tuple[str, ...] = ()

    def write(self, path: Path) -> None:
        """Store as JSON, readable by root only: the environment may hold secrets."""
        path.touch(mode=0o600)
        path.write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Load what `write` stored."""
        fields: dict[str, Any] = json.loads(path.read_text())
        fields["credentials"] = _credentials(fields["credentials"])
        for name in ("image_binds", "mounts", "devices"):
            fields[name] = tuple(Bind(**bind) for bind in fields[name])
        for name in ("argv", "masked_paths", "read_only_paths"):
            fields[name] = tuple(fields[name])
        return cls(**fields)


def _credentials(fields: dict[str, Any]) -> Credentials:
    for name in ("groups", "capabilities"):
        fields[name] = tuple(fields[name])
    return Credentials(**fields)
