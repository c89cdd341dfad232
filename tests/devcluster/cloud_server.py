"""The fake Oracle Cloud inside a cluster: `python -m tests.devcluster.cloud_server CLUSTER`, run by `start_cloud`."""

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from aiohttp import web

from tests.devcluster.cluster import Cluster
from tests.devcluster.control_plane import ADDRESS, CLOUD_PORT
from tests.devcluster.layout import ClusterLayout
from tests.devcluster.namespaces import Namespaces
from tests.devcluster.nodes import NodeSpec
from tests.devcluster.process_identity import ProcessIdentity
from tests.fakes.oci.cloud import FakeCloud
from tests.fakes.oci.credentials import Credentials
from tests.fakes.oci.pool_state import Node, pools_from_json
from tests.fakes.oci.server import application
from tests.fakes.oci.signatures import SignatureCheck

FIRST_PROCESS = 1  # the cluster's, as seen from inside
MACHINES_AT_ONCE = 16
JOIN_SECONDS = 120
PREEMPTIBLE = "oci.oraclecloud.com/oke-is-preemptible"


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
        before = self._latest.get(node.name)

        def act() -> None:
            if before is not None:
                before.result()
            try:
                change(node)
            except Exception:
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
