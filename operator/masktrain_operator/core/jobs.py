"""Reading batch Jobs as the Job controller writes them."""

from masktrain_operator.api import labels

from .types import Manifest

_MOST_DIGITS = 9
"""More would fit no field of a status."""


def attempt_number(manifest: Manifest) -> int:
    """Of a Job or pod of ours; -1, which is no attempt, if someone removed or changed the label."""
    number = whole_number(manifest["metadata"].get("labels", {}).get(labels.ATTEMPT_LABEL))
    return -1 if number is None else number


def whole_number(written: object) -> int | None:
    """Of a label or annotation, which anybody may have edited; None for what cannot have been meant as one."""
    text = str(written)
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS else None


def condition(job: Manifest, kind: str) -> Manifest:
    """The Job's condition of that type if it is True, else empty."""
    conditions = job.get("status", {}).get("conditions") or []
    return next((found for found in conditions if found.get("type") == kind and found.get("status") == "True"), {})


def is_complete(job: Manifest) -> bool:
    return bool(condition(job, "Complete"))


def failure(job: Manifest) -> Manifest:
    """The condition that says why the Job fails or failed, empty if it does not.

    `FailureTarget` comes first, as soon as a rule matched; `Failed` follows when all pods are terminal.
    """
    return condition(job, "FailureTarget") or condition(job, "Failed")


def is_going(manifest: Manifest) -> bool:
    """Whether the object has been deleted, and only a finalizer or its grace period keeps it."""
    return manifest["metadata"].get("deletionTimestamp") is not None


def is_over(job: Manifest) -> bool:
    """Whether the Job controller will start nothing any more: it makes no pods for a Job that is going."""
    return is_finished(job) or is_going(job)


def is_finished(job: Manifest) -> bool:
    """Whether the Job controller will start nothing any more and all pods are terminal."""
    return is_complete(job) or bool(condition(job, "Failed"))
