"""The operator as a process of its own, with no more rights than the chart gives it."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import yaml

from tests.devcluster.cluster import Cluster
from tests.devcluster.layout import REPOSITORY

CHART = REPOSITORY / "charts" / "masktrain-operator"
NAMESPACE = "masktrain-system"
ACCOUNT = "masktrain-operator"
STOP_SECONDS = 20


class OperatorProcess:
    """Started, killed and started again by tests."""

    def __init__(self, kubeconfig: Path, log: Path) -> None:
        self._kubeconfig = kubeconfig
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        environment = os.environ | {
            "KUBECONFIG": str(self._kubeconfig),
            "MASKTRAIN_OPERATOR_TRAINER_IMAGE": "masktrain-trainer:test",
            "MASKTRAIN_OPERATOR_LIVENESS_PORT": str(_free_port()),
            "MASKTRAIN_OPERATOR_METRICS_PORT": "0",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "masktrain_operator"], env=environment, stdout=log, stderr=log
            )

    def kill(self) -> None:
        """As when its node loses power."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS)

    def stop(self) -> int:
        """As Kubernetes stops a pod; the exit code."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(STOP_SECONDS)


def grant_chart_rights(cluster: Cluster, folder: Path) -> Path:
    """Apply the chart's account and roles; a kubeconfig that acts as this account."""
    cluster.kubectl("create", "namespace", NAMESPACE)
    for template in ("serviceaccount", "rbac"):
        arguments = ("template", ACCOUNT, str(CHART), "--namespace", NAMESPACE)
        manifest = cluster.helm(*arguments, "--show-only", f"templates/{template}.yaml")
        cluster.kubectl("apply", "--filename=-", text=manifest)
    token = cluster.kubectl("create", "token", ACCOUNT, "--namespace", NAMESPACE, "--duration=1h").strip()
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    config["users"][0]["user"] = {"token": token}
    path = folder / "operator.kubeconfig"
    path.write_text(yaml.safe_dump(config))
    return path


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
