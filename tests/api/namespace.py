"""A namespace of the control plane under test, and short words for what the tests do in it."""

import json
from typing import Any

from devcluster.cluster import Cluster, ClusterError

WAIT_SECONDS = 60


class ApiNamespace:
    """There are no controllers: whatever is not asked for here or made by the operator does not happen."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, text=text)

    def create(self, manifest: dict[str, Any], *options: str) -> dict[str, Any]:
        return self._json("create", "--filename=-", *options, text=json.dumps(manifest))

    def replace(self, manifest: dict[str, Any], *options: str) -> dict[str, Any]:
        return self._json("replace", "--filename=-", *options, text=json.dumps(manifest))

    def merge(self, target: str, patch: dict[str, Any], *options: str) -> dict[str, Any]:
        return self._json("patch", target, "--type=merge", f"--patch={json.dumps(patch)}", *options)

    def json_patch(self, target: str, *operations: dict[str, Any]) -> dict[str, Any]:
        return self._json("patch", target, "--type=json", f"--patch={json.dumps(operations)}")

    def accepts(self, manifest: dict[str, Any]) -> bool:
        """Whether the API server would create it."""
        return self.refusal(manifest) is None

    def refusal(self, manifest: dict[str, Any]) -> str | None:
        """The API server's own words if it would not create it."""
        try:
            self.create(manifest, "--dry-run=server")
        except ClusterError as error:
            return str(error)
        return None

    def merge_status(self, target: str, status: dict[str, Any]) -> dict[str, Any]:
        return self.merge(target, {"status": status}, "--subresource=status")

    def get(self, target: str, *options: str) -> dict[str, Any]:
        return self._json("get", target, *options)

    def items(self, kind: str, *options: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._json("get", kind, *options)["items"]
        return found

    def names(self, kind: str, *options: str) -> list[str]:
        return sorted(item["metadata"]["name"] for item in self.items(kind, *options))

    def wait(self, target: str, condition: str, *options: str) -> None:
        self.kubectl("wait", target, f"--for={condition}", f"--timeout={WAIT_SECONDS}s", *options)

    def wait_until_gone(self, target: str) -> None:
        self.wait(target, "delete")

    def wait_for_event(self, reason: str) -> None:
        """Until an Event of that reason stands in the namespace."""
        self.kubectl(
            "wait", "events", f"--field-selector=reason={reason}", "--for=create", f"--timeout={WAIT_SECONDS}s"
        )

    def events(self, reason: str) -> list[dict[str, Any]]:
        return self.items("events", f"--field-selector=reason={reason}")

    def condition(self, name: str, kind: str) -> dict[str, Any]:
        conditions = self.get(f"masktrainingjob/{name}")["status"]["conditions"]
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def _json(self, *arguments: str, text: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.kubectl(*arguments, "--output=json", text=text))
        return answer
