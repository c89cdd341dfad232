"""The operator as a process of its own, with the rights of the chart's ServiceAccount and nothing else."""

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from devcluster.waiting import wait_until

READY_SECONDS = 60


class OperatorProcess:
    """Logs to a file; what the log must not hold is asserted by the tests that use it."""

    def __init__(self, kubeconfig: Path, log: Path, port: int, **settings: str) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(log.parent),
            "KUBECONFIG": str(kubeconfig),
            "MASKTRAIN_OPERATOR_TRAINER_IMAGE": "masktrain-trainer:dev",
            "MASKTRAIN_OPERATOR_PROGRESS_CLIENTS": '[{"namespaceSelector": {"matchLabels": {"name": "masktrain"}}}]',
            "MASKTRAIN_OPERATOR_LOG_FORMAT": "text",
            "MASKTRAIN_OPERATOR_LIVENESS_PORT": str(port),
            "MASKTRAIN_OPERATOR_METRICS_PORT": str(port + 1),
            "MASKTRAIN_OPERATOR_PROGRESS_INTERVAL_SECONDS": "1",
            "MASKTRAIN_OPERATOR_RESYNC_SECONDS": "3600",
            **{f"MASKTRAIN_OPERATOR_{name.upper()}": value for name, value in settings.items()},
        }
        self._port = port
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns when the probe answers."""
        with self._log.open("ab") as log:
            command = [sys.executable, "-m", "masktrain_operator"]
            self._process = subprocess.Popen(command, env=self._environment, stdout=log, stderr=log)
        wait_until(self._answers, "the operator's probe", READY_SECONDS)

    def kill(self) -> None:
        """As by a lost node: nothing is finished, nobody is told."""
        self._end("kill")

    def stop(self) -> int:
        """As Kubernetes stops it. Returns the exit code."""
        return self._end("terminate")

    @property
    def log(self) -> str:
        return self._log.read_text()

    def metric(self, name: str) -> float:
        """The value of one sample, its labels included in `name`."""
        text = self._get(self._port + 1, "/metrics")
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        assert found, text
        return float(found[1])

    def _answers(self) -> bool:
        try:
            self._get(self._port, "/healthz")
        except (urllib.error.URLError, ConnectionError):
            assert self._process is not None
            assert self._process.poll() is None, self.log
            return False
        return True

    def _get(self, port: int, path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def _end(self, how: str) -> int:
        process: Any = self._process
        if process is None:
            return 0
        getattr(process, how)()
        self._process = None
        return int(process.wait(timeout=30))
