"""The status of a resource that this version of the operator cannot read."""

from datetime import datetime

from pydantic import ValidationError

from masktrain_operator.api.conditions import ConditionType
from masktrain_operator.core.types import Manifest

REASON = "InvalidSpec"


def stalled_status(training_job: Manifest, error: ValidationError, now: datetime) -> Manifest:
    """The resource's status with a Stalled condition that says in one sentence which field is wrong.

    Everything else is left as it is: a job that an older operator started goes on under its own Job.
    """
    status = training_job.get("status", {})
    conditions = status.get("conditions", [])
    before: Manifest = next((condition for condition in conditions if condition["type"] == ConditionType.STALLED), {})
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    stalled = {
        "type": ConditionType.STALLED.value,
        "status": "True",
        "reason": REASON,
        "message": sentence(error),
        "observedGeneration": training_job["metadata"].get("generation", 1),
        "lastTransitionTime": before["lastTransitionTime"] if before.get("status") == "True" else moment,
    }
    others = [condition for condition in conditions if condition["type"] != ConditionType.STALLED]
    return {**status, "conditions": [*others, stalled]}


def sentence(error: ValidationError) -> str:
    """The first finding, and how many there are."""
    first, *more = error.errors(include_url=False, include_input=False)
    field = ".".join(str(part) for part in first["loc"])
    rest = f" ({len(more)} more findings)" if more else ""
    return f"The operator cannot work with {field}: {first['msg']}{rest}; correct it, or use an operator that knows it."
