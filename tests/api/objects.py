"""MaskTrainingJobs as users write them, and the part of Kubernetes that is missing beside a bare API server.

There is no Job controller and no kubelet here: a test plays them by writing pods and statuses as they would.
"""

import copy
import json
from typing import Any

from tests.devcluster.cluster import Cluster
from tests.devcluster.waiting import wait_until

Manifest = dict[str, Any]
STORE = {"endpoint": "http://store.example:9000", "credentialsSecretRef": {"name": "store-credentials"}}
TIME = "2026-01-01T00:00:00Z"
INDEX = "batch.kubernetes.io/job-completion-index"


def training_job(name: str = "masks", **sections: Manifest) -> Manifest:
    """A job of two pods; `sections` are merged over its spec, one level deep, and None removes a field."""
    spec: dict[str, Manifest] = {
        "dataset": {"uri": "s3://datasets/masks.zip", "store": STORE},
        "checkpoint": {"uri": "s3://checkpoints", "store": STORE},
        "compute": {"nodes": 2},
    }
    for section, fields in sections.items():
        merged = spec.get(section, {}) | fields
        spec[section] = {key: value for key, value in merged.items() if value is not None}
    return {
        "apiVersion": "masktrain.dev/v1alpha1",
        "kind": "MaskTrainingJob",
        "metadata": {"name": name},
        "spec": copy.deepcopy(spec),
    }


def progress(attempt: int, **fields: Any) -> str:
    """A trainer's termination message."""
    return json.dumps({"attempt": attempt, "epochs": 3, "updatedAt": TIME} | fields)


def outcome(kind: str, reason: str, message: str) -> Manifest:
    return {"kind": kind, "reason": reason, "message": message}


def checkpoint(uri: str, step: int) -> Manifest:
    return {"uri": uri, "sha256": "0" * 64, "sizeBytes": 1, "epoch": 1, "step": step, "verifiedAt": TIME}


class Namespace:
    """One namespace, handled with kubectl as a person would."""

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster = cluster
        self.name = name

    def kubectl(self, *arguments: str, text: str | None = None) -> str:
        return self.cluster.kubectl("--namespace", self.name, *arguments, text=text)

    def create(self, manifest: Manifest, *options: str) -> Manifest:
        made: Manifest = json.loads(
            self.kubectl("create", "--output=json", *options, "--filename=-", text=json.dumps(manifest))
        )
        return made

    def patch(self, target: str, patch: Manifest, *options: str) -> None:
        self.kubectl("patch", target, "--type=merge", *options, f"--patch={json.dumps(patch)}")

    def get(self, target: str) -> Manifest:
        found: Manifest = json.loads(self.kubectl("get", target, "--output=json"))
        return found

    def names(self, kind: str) -> list[str]:
        return self.kubectl("get", kind, "--output=name").split()

    def wait(self, target: str, condition: str, seconds: int = 30) -> None:
        """Return when `condition` (the argument of `kubectl wait --for`) holds."""
        self.kubectl("wait", target, f"--for={condition}", f"--timeout={seconds}s")

    def wait_for_condition(self, job: str, kind: str, reason: str) -> Manifest:
        """The job's condition of that type once it has that reason."""
        self.wait(f"mtj/{job}", f"jsonpath={{.status.conditions[?(@.type=='{kind}')].reason}}={reason}")
        conditions = self.get(f"mtj/{job}")["status"]["conditions"]
        return next(found for found in conditions if found["type"] == kind)

    def wait_for_events(self, job: str, *reasons: str) -> None:
        """Return when there are events about the job with all those reasons; they follow the status."""
        what = f"the events {', '.join(reasons)} of {job}"
        wait_until(lambda: set(reasons) <= self._event_reasons(job), what, seconds=30)

    def _event_reasons(self, job: str) -> set[str]:
        listed = json.loads(self.kubectl("events", "--for", f"mtj/{job}", "--output=json"))
        return {event["reason"] for event in listed["items"]}


class Gang:
    """The pods of an attempt's Job, with the test as Job controller and kubelet."""

    def __init__(self, namespace: Namespace, job: str) -> None:
        namespace.wait(f"job/{job}", "create")
        self._namespace = namespace
        self._job = namespace.get(f"job/{job}")
        self._name = job

    @property
    def uid(self) -> str:
        return str(self._job["metadata"]["uid"])

    def start(self) -> None:
        """Make every pod and let its container run."""
        for rank in range(self._job["spec"]["completions"]):
            self._namespace.create(self._pod(rank))
            self._report(rank, "Running", {"running": {"startedAt": TIME}})

    def end_pod(self, rank: int, exit_code: int, message: str = "") -> None:
        ended = {"exitCode": exit_code, "startedAt": TIME, "finishedAt": TIME, "message": message}
        self._report(rank, "Failed" if exit_code else "Succeeded", {"terminated": ended})

    def fail_job(self, *kinds: str) -> None:
        """Set the Job's conditions FailureTarget and, once all pods are terminal, Failed."""
        conditions = [_job_condition(kind, "PodFailurePolicy") for kind in kinds]
        self._patch_job({"startTime": TIME, "conditions": conditions})

    def complete_job(self) -> None:
        conditions = [_job_condition(kind, "CompletionsReached") for kind in ("SuccessCriteriaMet", "Complete")]
        counts = {"succeeded": self._job["spec"]["completions"], "completedIndexes": "0-1"}
        self._patch_job({"startTime": TIME, "completionTime": TIME, "conditions": conditions} | counts)

    def _pod(self, rank: int) -> Manifest:
        template = self._job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": self._name, "uid": self.uid, "controller": True}
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self._pod_name(rank),
                "labels": template["metadata"]["labels"] | {INDEX: str(rank)},
                "annotations": {INDEX: str(rank)},
                "ownerReferences": [owner],
            },
            "spec": template["spec"],
        }

    def _pod_name(self, rank: int) -> str:
        return f"{self._name}-{rank}-pod"

    def _report(self, rank: int, phase: str, state: Manifest) -> None:
        container = {"name": "trainer", "image": "", "imageID": "", "ready": False, "restartCount": 0, "state": state}
        status = {"phase": phase, "containerStatuses": [container]}
        self._namespace.patch(f"pod/{self._pod_name(rank)}", {"status": status}, "--subresource=status")

    def _patch_job(self, status: Manifest) -> None:
        self._namespace.patch(f"job/{self._name}", {"status": status}, "--subresource=status")


def _job_condition(kind: str, reason: str) -> Manifest:
    return {"type": kind, "status": "True", "reason": reason, "message": "", "lastTransitionTime": TIME}
