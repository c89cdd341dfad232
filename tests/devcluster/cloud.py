"""A fake Oracle Cloud for a dev cluster: the instances of its node pools are machines of that cluster."""

import dataclasses
import json
import sys
from typing import Any

from tests.devcluster.cluster import START_SECONDS, Cluster, ClusterError, forwarder_ports
from tests.devcluster.control_plane import ADDRESS, CLOUD_PORT
from tests.devcluster.daemons import Daemon
from tests.devcluster.namespaces import python_environment
from tests.devcluster.waiting import wait_until
from tests.fakes.oci.call_log import CallLog
from tests.fakes.oci.credentials import Credentials
from tests.fakes.oci.ledger import Ledger
from tests.fakes.oci.pool_state import PoolSettings
from tests.fakes.oci.remote import RemoteFakeOci

DAEMON = "cloud"
IN_CLUSTER_ENDPOINT = f"http://{ADDRESS}:{CLOUD_PORT}"


@dataclasses.dataclass(frozen=True)
class CloudSettings:
    """The node pools the cloud begins with; a machine's GPUs are its pool's `gpus`."""

    pools: tuple[PoolSettings, ...]


class Cloud:
    """The cloud of a running cluster, as `start_cloud` returns it."""

    def __init__(self, cluster: Cluster) -> None:
        """Speak to the cloud of `cluster`, which must have been started."""
        self._cluster = cluster
        self._remote = RemoteFakeOci(self.endpoint)
        self.credentials = Credentials.load(cluster.layout.cloud_credentials)

    @property
    def endpoint(self) -> str:
        """Container Engine and Compute as seen from this machine."""
        return f"http://127.0.0.1:{forwarder_ports(self._cluster.layout)['cloud']}"

    @property
    def endpoint_in_cluster(self) -> str:
        """Container Engine and Compute as seen from a pod."""
        return IN_CLUSTER_ENDPOINT

    @property
    def sdk_config(self) -> dict[str, str]:
        """For the SDK's clients, next to `service_endpoint=endpoint`."""
        return self.credentials.sdk_config

    def control(self, operation: str, **arguments: Any) -> None:
        """Turn a switch of `tests.fakes.oci.control.Control`. Raises ValueError for one that does not exist."""
        self._remote.control(operation, **arguments)

    def log(self) -> CallLog:
        """The calls and violations so far."""
        return self._remote.log()

    def ledger(self) -> Ledger:
        """The instances so far."""
        return self._remote.ledger()

    def answers(self) -> bool:
        """Whether it serves."""
        return self._remote.answers()

    def stop(self) -> None:
        """End the cloud and every machine it started; its books are lost."""
        self._cluster.daemons.kill(DAEMON)
        self._cluster.daemons.forget(DAEMON)
        for name in self._cluster.nodes.names():
            if name.startswith("oke-"):
                self._cluster.remove_node(name)


def is_cloudy(cluster: Cluster) -> bool:
    """Whether a cloud runs beside the cluster."""
    return cluster.daemons.alive(DAEMON)


def start_cloud(cluster: Cluster, settings: CloudSettings) -> Cloud:
    """Run a cloud inside the cluster; it ends with the cluster. Raises ClusterError if one runs already."""
    if is_cloudy(cluster):
        raise ClusterError(f"Cluster {cluster.name!r} already has a cloud; stop that first.")
    layout = cluster.layout
    Credentials.create().save(layout.cloud_credentials)
    layout.cloud_pools.write_text(json.dumps([dataclasses.asdict(pool) for pool in settings.pools]))
    command = (sys.executable, "-m", "tests.devcluster.cloud_server", cluster.name)
    cluster.daemons.start(Daemon(DAEMON, command, python_environment()))
    cloud = Cloud(cluster)
    wait_until(lambda: cloud.answers() or not cluster.daemons.alive(DAEMON), "the cloud to answer", START_SECONDS)
    if not cluster.daemons.alive(DAEMON):
        raise ClusterError(f"The cloud ended while starting. Its last words:\n{cluster.daemons.last_words(DAEMON)}")
    return cloud
