"""What an attempt that has not wholly started is waiting for, in one sentence."""

from . import pods
from .attempts import Attempt
from .types import Manifest

_DETAIL = 400
"""Characters of what the scheduler or the kubelet says."""


def waiting_sentence(attempt: Attempt, nodes: int) -> str:
    """How many workers have started, and what keeps the first of the others."""
    started = sum(map(pods.has_started, attempt.pods))
    counted = f"{started} of {nodes} workers of attempt {attempt.number} have started"
    details = (detail for pod in sorted(attempt.pods, key=pods.name) if (detail := _what_keeps(pod)))
    detail = next(details, None)
    return f"{counted}; {detail[:_DETAIL]}" if detail else f"{counted}."


def _what_keeps(pod: Manifest) -> str | None:
    return None if pods.has_started(pod) else _unschedulable(pod) or _container_waits(pod)


def _unschedulable(pod: Manifest) -> str | None:
    scheduled = pods.condition(pod, "PodScheduled")
    if scheduled.get("reason") != "Unschedulable":
        return None
    return f"{pods.name(pod)} cannot be scheduled: {scheduled.get('message', 'the scheduler gives no reason.')}"


def _container_waits(pod: Manifest) -> str | None:
    """Reasons like ImagePullBackOff; ContainerCreating says nothing new."""
    waits = pods.container_status(pod).get("state", {}).get("waiting", {})
    if waits.get("reason") in (None, "ContainerCreating", "PodInitializing"):
        return None
    said = f": {waits['message']}" if waits.get("message") else "."
    return f"{pods.name(pod)}: {waits['reason']}{said}"
