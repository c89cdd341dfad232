"""Plays the Job controller and the kubelets for the Job of one attempt, by writing what they would write."""

from datetime import UTC, datetime
from typing import Any

from tests.api.namespace import ApiNamespace


def moment() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Gang:
    """The pods of one Job. Fetches the Job when made, so it has to exist."""

    def __init__(self, namespace: ApiNamespace, job: str) -> None:
        self._namespace = namespace
        self._started = moment()
        self.job = namespace.get(f"job/{job}")
        self.name = job

    def pod_name(self, rank: int) -> str:
        return f"{self.name}-{rank}-x"

    def start(self, address: str = "127.0.0.1") -> None:
        """Every pod exists, is bound to a node, runs and is ready."""
        self._namespace.merge_status(
            f"job/{self.name}", {"startTime": self._started, "active": self.job["spec"]["parallelism"]}
        )
        for rank in range(self.job["spec"]["completions"]):
            self._namespace.create(self._pod(rank))
            self._namespace.merge_status(f"pod/{self.pod_name(rank)}", self._running(address))

    def exit(self, rank: int, code: int, message: str = "") -> None:
        """The trainer of that rank ends, and with it the pod."""
        ended = {"exitCode": code, "reason": "Error", "message": message, "startedAt": self._started}
        container = {"name": "trainer", "image": "i", "imageID": "", "ready": False, "restartCount": 0}
        status = {**container, "state": {"terminated": {**ended, "finishedAt": moment()}}}
        phase = "Failed" if code else "Succeeded"
        self._namespace.merge_status(f"pod/{self.pod_name(rank)}", {"phase": phase, "containerStatuses": [status]})

    def lose(self, rank: int) -> None:
        """The pod vanishes."""
        self._namespace.kubectl("delete", "pod", self.pod_name(rank), "--force", "--grace-period=0")

    def is_failing(self, reason: str, message: str) -> None:
        """The Job's failure is decided, its pods are not all gone."""
        self._set_conditions({"FailureTarget": (reason, message)})

    def has_failed(self, reason: str, message: str) -> None:
        """Every pod of the Job is terminal or gone."""
        failed = (reason, message)
        self._set_conditions({"FailureTarget": failed, "Failed": failed}, active=0, ready=0, terminating=0, failed=1)

    def has_completed(self) -> None:
        done = ("CompletionsReached", "Reached expected number of succeeded pods")
        count = self.job["spec"]["completions"]
        self._set_conditions(
            {"SuccessCriteriaMet": done, "Complete": done},
            active=0,
            ready=0,
            terminating=0,
            succeeded=count,
            completedIndexes=f"0-{count - 1}" if count > 1 else "0",
            completionTime=moment(),
        )

    def _set_conditions(self, conditions: dict[str, tuple[str, str]], **counts: Any) -> None:
        now = moment()
        written = [
            {"type": kind, "status": "True", "reason": reason, "message": message}
            | {"lastProbeTime": now, "lastTransitionTime": now}
            for kind, (reason, message) in conditions.items()
        ]
        self._namespace.merge_status(f"job/{self.name}", {"startTime": self._started, "conditions": written, **counts})

    def _pod(self, rank: int) -> dict[str, Any]:
        template = self.job["spec"]["template"]
        index = {"batch.kubernetes.io/job-completion-index": str(rank)}
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": self.name, "uid": self.job["metadata"]["uid"]}
        metadata = {
            "name": self.pod_name(rank),
            "labels": {**template["metadata"]["labels"], **index},
            "annotations": index,
            "ownerReferences": [{**owner, "controller": True}],
        }
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {**template["spec"], "nodeName": "n"}}

    def _running(self, address: str) -> dict[str, Any]:
        now = moment()
        container = {"name": "trainer", "image": "i", "imageID": "", "ready": True, "restartCount": 0, "started": True}
        return {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now,
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
            "containerStatuses": [{**container, "state": {"running": {"startedAt": now}}}],
        }
