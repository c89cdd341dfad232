"""A GPUNodePool whose operator is gone: nodes at the fake cloud, Nodes in Kubernetes, and what it had noted of them."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from devcluster.oracle.clock import SystemClock
from devcluster.oracle.pools import Node, PoolSettings
from devcluster.oracle.running import FakeOci
from masktrain_operator.api import labels
from masktrain_operator.core.times import format_time
from masktrain_operator.shell.lease import lease_manifest
from tests.api.namespace import ApiNamespace
from tests.unit.chart.rendering import OPERATOR_NAMESPACE

GPU = "nvidia.com/gpu"
NAME = "gpu"
SECRET = "oci-api-key"
AN_HOUR = timedelta(hours=1)
QUICK = PoolSettings(
    id="ocid1.nodepool.oc1.iad.fakesweeppool",
    size=3,
    accept_seconds=0.0,
    provision_seconds=0.0,
    boot_seconds=0.0,
    delete_seconds=0.5,
    linger_seconds=0.0,
    resist_eviction=False,
)
"""All there at once, and gone half a second after the request."""


class AbandonedPool:
    """Three nodes, idle for an hour when the operator was last seen. It had added `added` and `busy`.

    Since then somebody's pod has come to `busy`. `by_hand` was added by people.
    """

    def __init__(self, namespace: ApiNamespace, fake: FakeOci[SystemClock]) -> None:
        """`namespace` is that of the pod."""
        self._namespace = namespace
        self._kubernetes = ApiNamespace(namespace.cluster, OPERATOR_NAMESPACE)
        self._fake = fake
        fake.cloud.settle()
        self.added, self.busy, self.by_hand = sorted(fake.cloud.instances(), key=lambda node: node.name)

    def create(self) -> None:
        self._create_secret()
        for node in (self.added, self.busy, self.by_hand):
            self._kubernetes.create(_kube_node(node))
        self._namespace.create(_gpu_pod(self.busy))
        self._kubernetes.create(self._manifest())
        self._kubernetes.merge_status(f"gpunodepool/{NAME}", self._status())

    def remove(self) -> None:
        nodes = [node.name for node in (self.added, self.busy, self.by_hand)]
        self._namespace.kubectl("delete", "pod", "--all", "--force")
        self._kubernetes.kubectl("delete", "--ignore-not-found", f"gpunodepool/{NAME}", f"secret/{SECRET}")
        self._kubernetes.kubectl("delete", "--ignore-not-found", "node", *nodes)
        self.forget_lease()

    def renew_lease(self, ago: timedelta, looked: timedelta | None = None) -> None:
        """As by an operator whose last sign of life, and last look at the pool, were that long ago."""
        now = datetime.now(UTC)
        looks = {} if looked is None else {self.uid: now - looked}
        lease = lease_manifest(OPERATOR_NAMESPACE, "operator-of-the-past", now - ago, looks)
        self._kubernetes.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", text=json.dumps(lease))

    def forget_lease(self) -> None:
        self._kubernetes.kubectl("delete", "--ignore-not-found", "lease/masktrain-operator")

    def forget_status(self) -> None:
        self._kubernetes.merge(f"gpunodepool/{NAME}", {"status": None}, "--subresource=status")

    def pause(self) -> None:
        self._kubernetes.merge(f"gpunodepool/{NAME}", {"spec": {"paused": True}})

    @property
    def uid(self) -> str:
        return str(self._kubernetes.get(f"gpunodepool/{NAME}")["metadata"]["uid"])

    @property
    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self._kubernetes.get(f"gpunodepool/{NAME}")["status"]
        return found

    @property
    def cordoned(self) -> list[str]:
        return [node["metadata"]["name"] for node in self._kubernetes.items("nodes") if "unschedulable" in node["spec"]]

    @property
    def changes(self) -> list[str]:
        """What Oracle was asked to change, by operation."""
        return [call.operation for call in self._fake.log.calls if call.method != "GET"]

    @property
    def standing(self) -> set[str]:
        """Names of nodes whose instances are billed."""
        self._fake.cloud.settle()
        return {node.name for node in self._fake.cloud.instances() if node.instance_state != "TERMINATED"}

    def _create_secret(self) -> None:
        config = self._fake.sdk_config
        key = {name: config[name] for name in ("tenancy", "user", "fingerprint")} | {"key": config["key_content"]}
        data = {name: base64.b64encode(value.encode()).decode() for name, value in key.items()}
        self._kubernetes.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET}, "data": data})

    def _manifest(self) -> dict[str, Any]:
        return {
            "apiVersion": labels.API_VERSION,
            "kind": labels.POOL_KIND,
            "metadata": {"name": NAME},
            "spec": {
                "nodePoolId": QUICK.id,
                "region": "us-ashburn-1",
                "maxNodes": 4,
                "auth": {"type": "ConfigSecret", "configSecretRef": {"name": SECRET}},
            },
        }

    def _status(self) -> dict[str, Any]:
        nodes = [_entry(node, added=node is not self.by_hand) for node in (self.added, self.busy, self.by_hand)]
        return {"addedNodes": 2, "size": 3, "nodes": nodes}


def _gpu_pod(node: Node) -> dict[str, Any]:
    container = {"name": "notebook", "image": "notebook", "resources": {"limits": {GPU: "1"}}}
    spec = {"nodeName": node.name, "containers": [container], "automountServiceAccountToken": False}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "notebook"}, "spec": spec}


def _entry(node: Node, *, added: bool) -> dict[str, Any]:
    created = format_time(datetime.now(UTC) - 2 * AN_HOUR)
    return {
        "instanceId": node.instance_id,
        "name": node.name,
        "state": "Idle",
        "addedByOperator": added,
        "createdTime": created,
        "joinedTime": created,
    }


def _kube_node(node: Node) -> dict[str, Any]:
    idle_since = format_time(datetime.now(UTC) - AN_HOUR)
    gpus = {GPU: "2", "pods": "110"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": node.name, "annotations": {labels.IDLE_SINCE_ANNOTATION: idle_since}},
        "spec": {"providerID": node.instance_id},
        "status": {
            "capacity": gpus,
            "allocatable": gpus,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": idle_since}],
        },
    }
