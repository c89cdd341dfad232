"""Pods that do not end by themselves: past their grace period, or on a node that is gone.

Their object would block the next attempt for ever. A process that still runs behind a partition can do no harm: it
writes checkpoints under its own, older fence.
"""

from datetime import datetime, timedelta

from masktrain_operator.api.conditions import FailureKind

from . import pods
from .failures import Cause
from .pod_template import NODE_LOSS_SECONDS
from .types import Manifest

PATIENCE = timedelta(seconds=30)
"""Beyond the grace period, which a pod's deletionTimestamp already includes."""
_APART = timedelta(seconds=5)
"""The node controller writes a pod's Ready condition and the taint that evicts the pod a little apart."""


def is_stuck(pod: Manifest, now: datetime) -> bool:
    end = forced_end_time(pod)
    return end is not None and end <= now


def forced_end_time(pod: Manifest) -> datetime | None:
    """When the pod is given up, None if it has ended or nobody asked it to."""
    deletion = pod["metadata"].get("deletionTimestamp")
    if deletion is None or pods.is_terminal(pod):
        return None
    if is_on_lost_node(pod):
        return pods.condition_time(pod, pods.DISRUPTION_TARGET)
    return pods.parse_time(deletion) + PATIENCE


def is_on_lost_node(pod: Manifest) -> bool:
    """Whether the pod was evicted by its node's taint after being not ready for as long as that taint is tolerated.

    The pods of a node that is alive, and drained by a taint, are ready until then.
    """
    evicted = pods.condition_time(pod, pods.DISRUPTION_TARGET)
    silent_since = pods.condition_time(pod, "Ready")
    if evicted is None or silent_since is None or pods.is_ready(pod):
        return False
    by_taint = pods.condition(pod, pods.DISRUPTION_TARGET).get("reason") == "DeletionByTaintManager"
    return by_taint and evicted - silent_since + _APART >= timedelta(seconds=NODE_LOSS_SECONDS)


def cause_of_forced_end(pod: Manifest) -> Cause:
    if is_on_lost_node(pod):
        node = pod.get("spec", {}).get("nodeName", "unknown")
        sentence = f"Node {node} does not answer any more: pod {pods.name(pod)} was given up."
        return Cause(FailureKind.PREEMPTED, "NodeLost", sentence)
    kind = FailureKind.PREEMPTED if pods.is_disrupted(pod) else FailureKind.CRASHED
    sentence = f"Pod {pods.name(pod)} did not end within its grace period and was deleted by force."
    return Cause(kind, "PodStuck", sentence)
