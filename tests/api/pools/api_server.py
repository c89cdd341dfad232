"""The API server as machines, schedulers and people use it."""

import base64
import tempfile
import threading
from pathlib import Path
from typing import Any

import requests
import yaml

TIMEOUT_SECONDS = 30
MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}
AT_ONCE = {"gracePeriodSeconds": 0, "propagationPolicy": "Background"}


class ApiServer:
    """Remembers whether anything was written, which is when a watch would have told the operator."""

    def __init__(self, kubeconfig: Path, impersonated: str | None = None) -> None:
        """With all rights, or those of the user `impersonated`."""
        config = yaml.safe_load(kubeconfig.read_text())
        self._url = config["clusters"][0]["cluster"]["server"]
        self._session = requests.Session()
        self._session.trust_env = False
        if impersonated is not None:
            self._session.headers["Impersonate-User"] = impersonated
        self._session.verify = _file(config["clusters"][0]["cluster"]["certificate-authority-data"])
        user = config["users"][0]["user"]
        self._session.cert = (_file(user["client-certificate-data"]), _file(user["client-key-data"]))
        self._lock = threading.Lock()
        self.has_changed = False

    def close(self) -> None:
        self._session.close()
        for path in (self._session.verify, *(self._session.cert or ())):
            Path(str(path)).unlink()

    def get(self, path: str) -> dict[str, Any]:
        return self._send("GET", path)

    def create(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._send("POST", path, body)

    def merge(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._send("PATCH", path, body, MERGE_PATCH)

    def may_read(self, path: str) -> bool:
        with self._lock:
            answer = self._session.get(f"{self._url}{path}", timeout=TIMEOUT_SECONDS)
        return answer.status_code != requests.codes.forbidden

    def would_refuse(self, path: str, body: dict[str, Any]) -> bool:
        """Whether a merge patch is forbidden; nothing is changed."""
        with self._lock:
            answer = self._session.patch(
                f"{self._url}{path}?dryRun=All", json=body, headers=MERGE_PATCH, timeout=TIMEOUT_SECONDS
            )
        return answer.status_code in (requests.codes.forbidden, requests.codes.unprocessable)

    def delete(self, path: str) -> None:
        """One object, or all of a path that lists; those that are gone already are no failure."""
        self._send("DELETE", path, AT_ONCE, missing=True)

    def _send(
        self,
        method: str,
        path: str,
        body: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        *,
        missing: bool = False,
    ) -> dict[str, Any]:
        with self._lock:
            self.has_changed = self.has_changed or method != "GET"
            answer = self._session.request(
                method, f"{self._url}{path}", json=body, headers=headers, timeout=TIMEOUT_SECONDS
            )
        if missing and answer.status_code == requests.codes.not_found:
            return {}
        assert answer.ok, f"{method} {path}: {answer.text}"
        found: dict[str, Any] = answer.json()
        return found


def _file(encoded: str) -> str:
    with tempfile.NamedTemporaryFile(delete=False) as file:
        file.write(base64.b64decode(encoded))
    return file.name
