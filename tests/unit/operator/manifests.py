"""Kubernetes objects as the API server would show them, with only what a test cares about."""

from datetime import UTC, datetime, timedelta
from typing import Any

from masktrain_operator.api.v1alpha1 import MaskTrainingJob
from masktrain_operator.core.times import format_time
from masktrain_operator.core.types import Manifest, PlanSettings
from masktrain_trainer.config import CheckpointRef, DatasetSummary, Losses, Outcome, OutcomeKind, Phase, Progress

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
UID = "11111111-2222-3333-4444-555555555555"
NAMESPACE = "vision"
SETTINGS = PlanSettings(trainer_image="masktrain-trainer:dev")


def at(seconds: float) -> str:
    """A metav1.Time, that many seconds after NOW."""
    return format_time(NOW + timedelta(seconds=seconds))


def job_body(name: str = "masks", *, status: Manifest | None = None, **sections: dict[str, Any]) -> Manifest:
    """A MaskTrainingJob of two nodes; `sections` replace sections of its spec."""
    spec = {
        "model": {"weights": "scratch"},
        "dataset": {"uri": "s3://datasets/masks.zip"},
        "checkpoint": {"uri": "s3://checkpoints"},
        "compute": {"nodes": 2},
    }
    metadata = {"name": name, "namespace": NAMESPACE, "uid": UID, "generation": 1, "creationTimestamp": at(0)}
    return {"metadata": metadata, "spec": {**spec, **sections}, "status": status or {}}


def training_job(name: str = "masks", *, status: Manifest | None = None, **sections: dict[str, Any]) -> MaskTrainingJob:
    return MaskTrainingJob.parse(job_body(name, status=status, **sections))


def owned(name: str, attempt: int, uid: str) -> Manifest:
    labels = {"masktrain.dev/job": "masks", "masktrain.dev/job-uid": UID, "masktrain.dev/attempt": str(attempt)}
    reference = {"uid": UID, "controller": True}
    return {"name": name, "namespace": NAMESPACE, "uid": uid, "labels": labels, "ownerReferences": [reference]}


def batch_job(attempt: int = 0, *, message: str = "", reason: str = "BackoffLimitExceeded", **true: bool) -> Manifest:
    """The Job of an attempt; `true` names the conditions that hold."""
    conditions = [{"type": kind, "status": "True", "reason": reason, "message": message} for kind in true]
    name = f"masks-{attempt}"
    return {"metadata": owned(name, attempt, f"{name}-uid"), "status": {"conditions": conditions}}


def pod(rank: int = 0, attempt: int = 0, *, phase: str = "Running", **status: Any) -> Manifest:
    name = f"masks-{attempt}-{rank}-abcde"
    metadata = owned(name, attempt, f"{name}-uid")
    metadata["labels"]["batch.kubernetes.io/job-completion-index"] = str(rank)
    controller = {"kind": "Job", "name": f"masks-{attempt}", "uid": f"masks-{attempt}-uid", "controller": True}
    metadata["ownerReferences"] = [{"apiVersion": "batch/v1", **controller}]
    return {"metadata": metadata, "spec": {"nodeName": f"node-{rank}"}, "status": {"phase": phase, **status}}


def ended_pod(
    rank: int = 0, attempt: int = 0, *, code: int, seconds: float = 0, message: str = "", reason: str = "Error"
) -> Manifest:
    """A pod whose trainer exited `seconds` after NOW."""
    terminated = {"exitCode": code, "finishedAt": at(seconds), "message": message, "reason": reason}
    container = {"name": "trainer", "state": {"terminated": terminated}}
    return pod(rank, attempt, phase="Failed" if code else "Succeeded", containerStatuses=[container])


def terminating(manifest: Manifest, until: float) -> Manifest:
    """Asked to end, with a grace period that is over `until` seconds after NOW."""
    return {**manifest, "metadata": {**manifest["metadata"], "deletionTimestamp": at(until)}}


def with_condition(manifest: Manifest, kind: str, value: str = "True", **fields: str) -> Manifest:
    conditions = [*manifest["status"].get("conditions", []), {"type": kind, "status": value, **fields}]
    return {**manifest, "status": {**manifest["status"], "conditions": conditions}}


def ready(manifest: Manifest) -> Manifest:
    return with_condition(manifest, "Ready")


def checkpoint(step: int, *, epoch: int = 0, fitness: float | None = None) -> CheckpointRef:
    return CheckpointRef(
        uri=f"s3://checkpoints/{step}/model.pt",
        sha256=f"{step:064x}",
        size_bytes=1000,
        epoch=epoch,
        step=step,
        fitness=fitness,
        verified_at=NOW,
    )


DATASET = DatasetSummary(classes=["mask", "no mask"], images=80, boxes=200, validation_images=20, validation_boxes=50)


def progress(attempt: int = 0, **fields: Any) -> Progress:
    """What rank 0 says in the middle of training."""
    said: dict[str, Any] = {
        "phase": Phase.TRAINING,
        "dataset": DATASET,
        "epoch": 1,
        "epochs": 10,
        "step": 15,
        "images_per_second": 24.94,
        "eta_seconds": 60,
        "losses": Losses(box=0.05, objectness=0.02, classification=0.01),
        "map50": 0.51234,
        "map50_95": 0.3,
        "updated_at": NOW,
    }
    return Progress(attempt=attempt, **{**said, **fields})


def outcome_message(kind: OutcomeKind, reason: str, message: str, **fields: Any) -> str:
    """A termination message."""
    return progress(outcome=Outcome(kind=kind, reason=reason, message=message), **fields).to_json()
