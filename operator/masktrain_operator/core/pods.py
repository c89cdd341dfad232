"""Reading pods as the kubelet, the node controller and the scheduler write them."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from masktrain_operator.api import labels
from masktrain_trainer.config import plain_text

from .jobs import is_going, whole_number
from .manifests.job import CONTAINER
from .times import parse_time
from .types import Manifest

TERMINAL_PHASES = ("Succeeded", "Failed")
DISRUPTION_TARGET = "DisruptionTarget"
LONGEST_GRACE_SECONDS = 3600
"""The largest `limits.stopGraceSeconds`."""
_AT_ONCE = datetime.min.replace(tzinfo=UTC) + timedelta(days=1)


@dataclass(frozen=True)
class Termination:
    """How the trainer container of a pod ended."""

    pod: str
    rank: int | None
    exit_code: int
    reason: str
    message: str
    finished_at: datetime
    disrupted: bool


def name(pod: Manifest) -> str:
    return str(pod["metadata"]["name"])


def node_rank(pod: Manifest) -> int | None:
    metadata = pod["metadata"]
    # The label came with Kubernetes 1.28; the annotation is what older controllers set.
    written = metadata.get("labels", {}).get(labels.COMPLETION_INDEX) or metadata.get("annotations", {}).get(
        labels.COMPLETION_INDEX
    )
    return whole_number(written)


def phase(pod: Manifest) -> str:
    return str(pod.get("status", {}).get("phase", "Pending"))


def is_terminal(pod: Manifest) -> bool:
    """Whether its containers have ended, or nobody waits for their end any more.

    The latter is a pod deleted without a grace period, which the API server would have removed at once, but for a
    finalizer: it may be anybody's and stay for ever.
    """
    return phase(pod) in TERMINAL_PHASES or (is_going(pod) and pod["metadata"].get("deletionGracePeriodSeconds") == 0)


def end_of_grace(pod: Manifest) -> datetime:
    """When a pod that was asked to end has had its time: that of its spec, and no longer one that the deletion names.

    Whoever may delete pods may grant a year, and no later deletion but one by force shortens it unasked.
    """
    metadata = pod["metadata"]
    end = parse_time(metadata["deletionTimestamp"])
    own = pod.get("spec", {}).get("terminationGracePeriodSeconds", LONGEST_GRACE_SECONDS)
    surplus = metadata.get("deletionGracePeriodSeconds", 0) - min(own, LONGEST_GRACE_SECONDS)
    try:
        return end - timedelta(seconds=max(0, surplus))
    # Of 63 bits, which Go's durations do not hold either: its deletionTimestamp is any.
    except OverflowError:
        return _AT_ONCE


def is_scheduled(pod: Manifest) -> bool:
    return node_name(pod) is not None


def node_name(pod: Manifest) -> str | None:
    """The node it is bound to."""
    return pod.get("spec", {}).get("nodeName") or None


def has_started(pod: Manifest) -> bool:
    """Whether the containers run, or ran."""
    # Unknown is what a lost node leaves, whether or not the containers had started.
    return phase(pod) not in ("Pending", "Unknown")


def start_time(pod: Manifest) -> datetime | None:
    """When the trainer started, None while it has not."""
    state = container_status(pod).get("state", {})
    started = (state.get("running") or state.get("terminated") or {}).get("startedAt")
    return parse_time(started) if started else None


def end_time(pod: Manifest) -> datetime | None:
    """When the trainer ended, None while it has not."""
    ended = (container_status(pod).get("state", {}).get("terminated") or {}).get("finishedAt")
    return parse_time(ended) if ended else None


def is_ready(pod: Manifest) -> bool:
    return condition(pod, "Ready").get("status") == "True"


def condition(pod: Manifest, kind: str) -> Manifest:
    """The pod's condition of that type, empty if there is none."""
    conditions: Iterable[Manifest] = pod.get("status", {}).get("conditions") or []
    return next((found for found in conditions if found.get("type") == kind), {})


def condition_time(pod: Manifest, kind: str) -> datetime | None:
    """When the status of that condition last changed."""
    written = condition(pod, kind).get("lastTransitionTime")
    return parse_time(written) if written else None


def is_disrupted(pod: Manifest) -> bool:
    """Whether the cluster ended the pod: preemption, drain, eviction, a lost node."""
    return condition(pod, DISRUPTION_TARGET).get("status") == "True"


def container_status(pod: Manifest) -> Manifest:
    statuses: Iterable[Manifest] = pod.get("status", {}).get("containerStatuses") or []
    # By name: admission webhooks add sidecars, whose ends say nothing of training.
    return next((status for status in statuses if status.get("name") == CONTAINER), {})


def termination(pod: Manifest) -> Termination | None:
    """How the trainer ended, None while it runs or if the kubelet could not say."""
    ended = container_status(pod).get("state", {}).get("terminated")
    # A container whose end the kubelet has missed (`ContainerStatusUnknown`) ended at no time.
    if not ended or not ended.get("finishedAt"):
        return None
    return Termination(
        pod=name(pod),
        rank=node_rank(pod),
        exit_code=int(ended.get("exitCode", 0)),
        reason=plain_text(str(ended.get("reason", "")), 64),
        # Of several lines: the end of a log.
        message=str(ended.get("message", "")).strip(),
        finished_at=parse_time(ended["finishedAt"]),
        disrupted=is_disrupted(pod),
    )
