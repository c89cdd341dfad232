"""What one node of the cluster is told; written by the command line, read by the node's own process."""

import dataclasses
import json
from pathlib import Path
from typing import Self


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
