"""The condition types of a MaskTrainingJob and the reasons they may carry: API, like the fields of the spec.

There is no `Ready` and no `phase`: kstatus (Flux, Argo CD, `kubectl wait`) would wait on them for the whole training.
`Reconciling` and `Stalled` are the two that kstatus reads.
"""

from enum import StrEnum


class ConditionType(StrEnum):
    COMPLETE = "Complete"
    FAILED = "Failed"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    DATASET_VERIFIED = "DatasetVerified"
    CHECKPOINT_FRESH = "CheckpointFresh"
    PROGRESS_UNKNOWN = "ProgressUnknown"
    WRITE_REFUSED = "WriteRefused"
    BEST_UNKNOWN = "BestUnknown"
    EXPORTED = "Exported"
    EVALUATED = "Evaluated"


class Reason(StrEnum):
    """Reasons that the operator itself gives; a trainer's `FailureReason` may stand in `Failed` and `Stalled` too."""

    # Reconciling
    WAITING_FOR_CAPACITY = "WaitingForCapacity"
    NAMESPACE_LIMIT_REACHED = "NamespaceLimitReached"
    WAITING_FOR_NODES = "WaitingForNodes"
    STARTING_WORKERS = "StartingWorkers"
    WORKERS_RUNNING = "WorkersRunning"
    ATTEMPT_FAILED = "AttemptFailed"
    RESTART_BACKOFF = "RestartBackoff"
    WAITING_FOR_OLD_PODS = "WaitingForOldPods"
    WRITE_REFUSED = "WriteRefused"
    FINISHED = "Finished"
    # Complete, DatasetVerified, CheckpointFresh, ProgressUnknown, WriteRefused, BestUnknown
    TRAINING_COMPLETE = "TrainingComplete"
    VERIFIED = "Verified"
    STORED = "Stored"
    STORE_ERROR = "StoreError"
    UNREACHABLE = "Unreachable"
    REACHABLE = "Reachable"
    ACCEPTED = "Accepted"
    NO_FITNESS = "NoFitness"
    FITNESS_FOUND = "FitnessFound"
    # Failed and Stalled
    RESTART_BUDGET_EXHAUSTED = "RestartBudgetExhausted"
    DEADLINE_EXCEEDED = "DeadlineExceeded"
    CAPACITY_NOT_FOUND = "CapacityNotFound"
    COST_LIMIT_REACHED = "CostLimitReached"
    PRICE_UNKNOWN = "PriceUnknown"
    POOL_NOT_FOUND = "NodePoolNotFound"
    POOL_TOO_SMALL = "NodePoolTooSmall"
    SHAPE_NOT_SUPPORTED = "ShapeNotSupported"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    NAMESPACE_LIMIT_TOO_SMALL = "NamespaceLimitTooSmall"
    PRIORITY_CLASS_NOT_ALLOWED = "PriorityClassNotAllowed"
    SERVICE_NOT_OURS = "ServiceNotOurs"
    NETWORK_POLICY_NOT_OURS = "NetworkPolicyNotOurs"
    JOB_NOT_OURS = "JobNotOurs"
    INVALID_SPEC = "InvalidSpec"
    UNBLOCKED = "Unblocked"


class FailureKind(StrEnum):
    """What ended an attempt. `UserError` is final, the others are tried again."""

    USER_ERROR = "UserError"
    STOPPED = "Stopped"
    PREEMPTED = "Preempted"
    HUNG = "Hung"
    FENCED = "Fenced"
    CRASHED = "Crashed"
