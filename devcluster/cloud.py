"""A fake Oracle Cloud for a running cluster: the instances of its node pools are machines of that cluster.

`start_cloud` runs this module as a daemon inside the cluster: `python -m devcluster.cloud CLUSTER`.
"""

import dataclasses
import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from aiohttp import web

from devcluster.node.network import ADDRESS
from devcluster.oracle.cloud import FakeCloud
from devcluster.oracle.pools import Node, PoolSettings, pools_from_json
from devcluster.oracle.records import CallLog, Ledger
from devcluster.oracle.running import RemoteFakeOci
from devcluster.oracle.server import application
from devcluster.oracle.signing import Credentials, SignatureCheck
from devcluster.processes.daemons import Daemon
from devcluster.processes.kernel import ProcessIdentity
from devcluster.processes.namespaces import Namespaces, python_environment

from .cluster import START_SECONDS, Cluster, ClusterError, forwarder_ports
from .control_plane import CLOUD_PORT
from .layout import ClusterLayout
from .nodes import NodeSpec
from .waiting import wait_until

DAEMON = "cloud"
CLOUD_ENDPOINT = f"http://{ADDRESS}:{CLOUD_PORT}"
FIRST_PROCESS = 1  # the cluster's, as seen from inside
# Starting a kubelet is waiting, mostly; more would only compete for the processor.
MACHINES_AT_ONCE = 16
JOIN_SECONDS = 120
PREEMPTIBLE = "oci.oraclecloud.com/oke-is-preemptible"


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
        return CLOUD_ENDPOINT

    @property
    def sdk_config(self) -> dict[str, str]:
        """For the SDK's clients, next to `service_endpoint=endpoint`."""
        return self.credentials.sdk_config

    def control(self, operation: str, **arguments: Any) -> None:
        """Turn a switch of `devcluster.oracle.control.Control`. Raises ValueError for one that does not exist."""
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
            # Its own machines; those that `up` has started are called otherwise, and stay.
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
    command = (sys.executable, "-m", "devcluster.cloud", cluster.name)
    cluster.daemons.start(Daemon(DAEMON, command, python_environment()))
    cloud = Cloud(cluster)
    # Also its end: a process that died while starting would be waited for to the last second.
    wait_until(lambda: cloud.answers() or not cluster.daemons.alive(DAEMON), "the cloud to answer", START_SECONDS)
    if not cluster.daemons.alive(DAEMON):
        raise ClusterError(f"The cloud ended while starting. Its last words:\n{cluster.daemons.last_words(DAEMON)}")
    return cloud


class KubeletMachines:
    """Instances as machines of the cluster. Each machine's own changes happen one after the other."""

    def __init__(self, cluster: Cluster, kubeconfig: Path) -> None:
        """Act on `cluster` from inside, with the rights of `kubeconfig`."""
        self._cluster = cluster
        self._kubectl = (str(cluster.programs / "kubectl"), f"--kubeconfig={kubeconfig}")
        self._workers = ThreadPoolExecutor(MACHINES_AT_ONCE)
        self._latest: dict[str, Future[None]] = {}

    def switch_on(self, node: Node) -> None:
        """Start its kubelet, and put on the Node what OKE's controller puts there."""
        self._in_turn(node, self._join)

    def switch_off(self, node: Node) -> None:
        """End the machine and delete its Node."""
        self._in_turn(node, self._leave)

    def cut_power(self, node: Node) -> None:
        """End the machine; its Node stays."""
        self._in_turn(node, self._die)

    def _in_turn(self, node: Node, change: Callable[[Node], None]) -> None:
        # A deletion that overtook its creation would leave a machine that nobody ends.
        before = self._latest.get(node.name)

        def act() -> None:
            if before is not None:
                before.result()
            try:
                change(node)
            except Exception:  # noqa: BLE001
                traceback.print_exc()  # the daemon's log tells; the cloud goes on

        self._latest[node.name] = self._workers.submit(act)

    def _join(self, node: Node) -> None:
        self._cluster.nodes.start(node_spec(node))
        self._run("wait", "--for=create", f"node/{node.name}", f"--timeout={JOIN_SECONDS}s")
        annotations = {"node-pool-id": node.pool.id, "compartment-id": node.pool.compartment_id}
        pairs = (f"oci.oraclecloud.com/{name}={value}" for name, value in annotations.items())
        self._run("annotate", "node", node.name, *pairs)
        if node.pool.preemptible:
            self._run("taint", "node", node.name, f"{PREEMPTIBLE}=:NoSchedule")

    def _leave(self, node: Node) -> None:
        if node.name in self._cluster.nodes.names():
            self._cluster.nodes.discard(node.name)
        self._run("delete", "node", node.name, "--ignore-not-found")

    def _die(self, node: Node) -> None:
        if self._cluster.nodes.alive(node.name):
            self._cluster.nodes.kill(node.name)

    def _run(self, *arguments: str) -> None:
        subprocess.run((*self._kubectl, *arguments), check=True)


def node_spec(node: Node) -> NodeSpec:
    """The machine of an instance: named as in the pool, labelled as OKE does."""
    labels = {PREEMPTIBLE: "true"} if node.pool.preemptible else {}
    return NodeSpec(
        name=node.name,
        gpus=node.pool.gpus,
        shape=node.pool.shape,
        zone=node.availability_domain.partition(":")[2] or node.availability_domain,
        fault_domain=node.fault_domain,
        provider_id=str(node.instance_id),
        labels={**node.pool.labels, **labels},
    )


def main() -> None:
    """Serve on the bridge until the cluster ends."""
    layout = ClusterLayout(sys.argv[1])
    cluster = Cluster(layout, Namespaces(ProcessIdentity.of(FIRST_PROCESS)))
    kubeconfig = cluster.control_plane.kubeconfig("oke-controller", group="system:masters")
    pools = pools_from_json(json.loads(layout.cloud_pools.read_text()))
    cloud = FakeCloud(pools, machines=KubeletMachines(cluster, kubeconfig))
    signatures = SignatureCheck(Credentials.load(layout.cloud_credentials))
    web.run_app(application(cloud, signatures), host=ADDRESS, port=CLOUD_PORT)


if __name__ == "__main__":
    main()
