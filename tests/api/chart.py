"""Installs the operator's chart on a control plane that has no nodes: everything of it but running pods."""

import json
from pathlib import Path
from typing import Any

import yaml

from devcluster.cluster import Cluster
from masktrain_operator.api.labels import CRD_NAME, POOL_CRD_NAME
from tests.unit.chart.rendering import NAME, OPERATOR_NAMESPACE, render


def install(cluster: Cluster) -> None:
    """Apply the chart's objects; returns when the API serves MaskTrainingJobs and GPUNodePools."""
    cluster.kubectl("create", "namespace", OPERATOR_NAMESPACE)
    apply(cluster, *render())
    definitions = (f"crd/{name}" for name in (CRD_NAME, POOL_CRD_NAME))
    cluster.kubectl("wait", "--for=condition=Established", *definitions, "--timeout=30s")


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    documents = "\n---\n".join(map(json.dumps, objects))
    cluster.kubectl("apply", "--server-side", "--filename=-", text=documents)


def service_account_kubeconfig(cluster: Cluster, path: Path, account: str = NAME) -> Path:
    """A kubeconfig that has exactly the rights of the chart's ServiceAccount."""
    token = cluster.kubectl("create", "token", account, f"--namespace={OPERATOR_NAMESPACE}").strip()
    config = yaml.safe_load(Path(cluster.kubeconfig).read_text())
    config["users"] = [{"name": NAME, "user": {"token": token}}]
    config["contexts"][0]["context"]["user"] = NAME
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path
