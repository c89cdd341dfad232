"""A namespace of its own for each test, and short words for what the tests apply."""

import itertools
import json
from collections.abc import Iterator
from typing import Any

import pytest

from devcluster.cluster import Cluster

_numbers = itertools.count()
TOLERATE_GPU = [{"key": "nvidia.com/gpu", "operator": "Exists"}]
RESTRICTED_POD = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}
RESTRICTED_CONTAINER = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "readOnlyRootFilesystem": True,
}


class Namespace:
    """One namespace of the cluster under test."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, text=text)

    def apply(self, *manifests: dict[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", text="\n---\n".join(json.dumps(manifest) for manifest in manifests))

    def wait(self, target: str, condition: str, seconds: int = 60) -> None:
        self.kubectl("wait", target, f"--for={condition}", f"--timeout={seconds}s")

    def wait_for_phase(self, pod: str, phase: str) -> None:
        self.wait(f"pod/{pod}", f"jsonpath={{.status.phase}}={phase}")

    def get(self, target: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.kubectl("get", target, "--output=json"))
        return found

    def state(self, pod: str) -> dict[str, Any]:
        """State of the pod's first container."""
        state: dict[str, Any] = self.get(f"pod/{pod}")["status"]["containerStatuses"][0]["state"]
        return state

    def run_to_end(self, manifest: dict[str, Any], phase: str = "Succeeded") -> str:
        """Apply a pod, wait for its end and return its log."""
        name = manifest["metadata"]["name"]
        self.apply(manifest)
        self.wait_for_phase(name, phase)
        return self.kubectl("logs", name)


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[Namespace]:
    name = f"test-{next(_numbers)}"
    cluster.kubectl("create", "namespace", name)
    cluster.kubectl("wait", "--for=create", "serviceaccount/default", "--namespace", name, "--timeout=30s")
    yield Namespace(cluster, name)
    cluster.kubectl("delete", "namespace", name, "--wait=false")


def shell_pod(name: str, script: str, container: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    """A pod that runs a shell script once."""
    main = {"name": "main", "image": "busybox", "command": ["sh", "-c", script], **(container or {})}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 2, "containers": [main], **spec},
    }
