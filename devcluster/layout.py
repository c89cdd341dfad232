"""Where everything lies: the cache of built programs and one folder for each cluster."""

import dataclasses
import os
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
NAME_PATTERN = re.compile(r"[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?")


def cache() -> Path:
    """The folder below which all of MaskTrain's caches and clusters live."""
    named = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # Any other path counts as unset: https://specifications.freedesktop.org/basedir-spec/latest/
    return (named if named.is_absolute() else Path.home() / ".cache") / "masktrain"


def clusters_folder() -> Path:
    """Where every cluster has its folder."""
    return cache() / "clusters"


@dataclasses.dataclass(frozen=True)
class ClusterLayout:
    """The files of one cluster. Raises ValueError for a name that cannot be a folder and a host name."""

    name: str

    def __post_init__(self) -> None:
        if not NAME_PATTERN.fullmatch(self.name):
            raise ValueError(f"cluster name {self.name!r}: use up to 42 lower-case letters, digits and inner hyphens")

    @property
    def root(self) -> Path:
        """The cluster's folder; it exists exactly as long as the cluster does."""
        return clusters_folder() / self.name

    @property
    def lock(self) -> Path:
        """Held by whoever starts or stops the cluster."""
        return clusters_folder() / f".{self.name}.lock"

    @property
    def init(self) -> Path:
        """Identity of the process that holds the cluster's namespaces."""
        return self.root / "init.json"

    @property
    def settings(self) -> Path:
        """What the cluster was started with; written when the control plane answers, before the nodes are up."""
        return self.root / "settings.json"

    @property
    def kubeconfig(self) -> Path:
        """Administrator's access through the forwarder on 127.0.0.1."""
        return self.root / "kubeconfig"

    @property
    def pki(self) -> Path:
        """Certificates and keys."""
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        """One log file for each daemon."""
        return self.root / "logs"

    @property
    def run(self) -> Path:
        """One process identity for each daemon."""
        return self.root / "run"

    @property
    def images(self) -> Path:
        """The image registry."""
        return self.root / "images"

    @property
    def nodes(self) -> Path:
        """One folder for each node."""
        return self.root / "nodes"

    @property
    def buckets(self) -> Path:
        """The object store's files: one folder for each bucket."""
        return self.root / "buckets"

    @property
    def etcd(self) -> Path:
        """etcd's data."""
        return self.root / "etcd"

    @property
    def object_store(self) -> Path:
        """Access keys of the object store."""
        return self.root / "object-store.json"

    @property
    def cloud_credentials(self) -> Path:
        """The API key of the fake Oracle Cloud."""
        return self.root / "cloud-key.json"

    @property
    def cloud_pools(self) -> Path:
        """The node pools that the fake Oracle Cloud began with."""
        return self.root / "cloud-pools.json"

    @property
    def ports(self) -> Path:
        """The forwarder's ports on 127.0.0.1."""
        return self.root / "ports.json"

    def create(self) -> None:
        """Make the folders; nobody but root may look inside, since keys lie there."""
        for folder in (self.root, self.pki, self.logs, self.run, self.images, self.nodes, self.buckets):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
