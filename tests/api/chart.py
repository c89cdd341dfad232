"""Installs the operator's chart on a control plane that has no nodes: everything of it but running pods."""

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

from tests.devcluster.binaries import program_paths
from tests.devcluster.cluster import Cluster
from tests.devcluster.layout import REPOSITORY

NAME = "masktrain-operator"
CHART = REPOSITORY / "charts" / NAME
OPERATOR_NAMESPACE = "masktrain-system"


def helm(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Helm without a cluster."""
    command = [str(program_paths()["helm"]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=check)


def render(*options: str, release: str = NAME) -> list[dict[str, Any]]:
    """The chart's objects."""
    text = helm("template", release, str(CHART), f"--namespace={OPERATOR_NAMESPACE}", *options).stdout
    return [document for document in yaml.safe_load_all(text) if document]


def install(cluster: Cluster) -> None:
    """Apply the chart's objects; returns when the API serves MaskTrainingJobs."""
    cluster.kubectl("create", "namespace", OPERATOR_NAMESPACE)
    documents = "\n---\n".join(json.dumps(document) for document in render())
    cluster.kubectl("apply", "--server-side", "--filename=-", text=documents)
    cluster.kubectl("wait", "--for=condition=Established", "crd/masktrainingjobs.masktrain.dev", "--timeout=30s")


def service_account_kubeconfig(cluster: Cluster, path: Path) -> Path:
    """A kubeconfig that has exactly the rights of the chart's ServiceAccount."""
    token = cluster.kubectl("create", "token", NAME, f"--namespace={OPERATOR_NAMESPACE}").strip()
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    config["users"] = [{"name": NAME, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = NAME
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path
