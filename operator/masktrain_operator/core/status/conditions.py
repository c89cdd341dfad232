"""Conditions of a status: at most one of each type, and a time that says when its status last changed."""

from datetime import datetime
from enum import StrEnum
from typing import TypeVar

from masktrain_operator.api.conditions import ConditionType
from masktrain_operator.api.pool_status import GPUNodePoolStatus
from masktrain_operator.api.status import Condition, ConditionStatus, MaskTrainingJobStatus

Status = TypeVar("Status", MaskTrainingJobStatus, GPUNodePoolStatus)


def find_condition(status: MaskTrainingJobStatus | GPUNodePoolStatus, kind: StrEnum) -> Condition | None:
    return next((condition for condition in status.conditions if condition.type == kind), None)


def is_true(status: MaskTrainingJobStatus | GPUNodePoolStatus, kind: StrEnum) -> bool:
    found = find_condition(status, kind)
    return found is not None and found.status == ConditionStatus.TRUE


def is_finished(status: MaskTrainingJobStatus) -> bool:
    # The time is a second witness: for one condition that cannot be read, nobody pays for a training twice.
    ended = status.completion_time is not None
    return ended or is_true(status, ConditionType.COMPLETE) or is_true(status, ConditionType.FAILED)


def set_condition(
    status: Status,
    kind: StrEnum,
    holds: bool | None,
    *,
    reason: str,
    message: str,
    now: datetime,
) -> Status:
    """`lastTransitionTime` stays unless the condition turns; its generation is the status's. `holds` None: unknown."""
    before = find_condition(status, kind)
    value = ConditionStatus.UNKNOWN if holds is None else ConditionStatus.TRUE if holds else ConditionStatus.FALSE
    condition = Condition(
        type=kind.value,
        status=value,
        reason=reason,
        message=message,
        observed_generation=status.observed_generation,
        last_transition_time=before.last_transition_time if before and before.status == value else now,
    )
    if before is None:
        return status.model_copy(update={"conditions": [*status.conditions, condition]})
    # In its old place: another order would make the status another one, and a merge patch sends lists whole.
    conditions = [condition if existing is before else existing for existing in status.conditions]
    return status.model_copy(update={"conditions": conditions})
