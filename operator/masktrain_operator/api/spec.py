"""The spec of a MaskTrainingJob: what is trained is the trainer's contract, where and how long is added here."""

from pydantic import Field

from masktrain_trainer.config import CheckpointSpec, Contract, DatasetSpec, ModelSpec, TrainingSpec

from .compute import ComputeSpec
from .pool_spec import Price

YEAR_SECONDS = 31_536_000


class LimitsSpec(Contract):
    """When to give up; every field may be changed while the job runs and then counts for the next attempt's pods."""

    max_restarts_without_progress: int = Field(
        default=3,
        ge=0,
        le=100,
        description="Restarts after a crash or a hang that follow each other without a newer checkpoint; "
        "preemptions are never counted.",
    )
    start_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=YEAR_SECONDS,
        description="Longest wait for all workers of an attempt to start; after it the job fails as CapacityNotFound.",
    )
    max_cost: Price | None = Field(
        default=None,
        description="USD that the job may cost on the nodes of a GPUNodePool; at the limit it stops with a checkpoint "
        "and fails as CostLimitReached.",
    )
    active_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=YEAR_SECONDS,
        description="Longest life of the job over all attempts, from its start time.",
    )
    hang_timeout_seconds: int = Field(
        default=300, ge=10, le=86_400, description="A rank without a step for this long is hung."
    )
    stop_grace_seconds: int = Field(
        default=120, ge=10, le=3600, description="Time that a pod has to store a checkpoint when it is asked to stop."
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None,
        ge=0,
        le=YEAR_SECONDS,
        description="Delete pods, Jobs and the Service this long after the end; the resource and its status stay.",
    )


class MaskTrainingJobSpec(Contract):
    model: ModelSpec = Field(default=ModelSpec(), description="The detector and where its weights start.")
    dataset: DatasetSpec = Field(description="What to train on.")
    training: TrainingSpec = Field(default=TrainingSpec(), description="How to train.")
    checkpoint: CheckpointSpec = Field(description="Where checkpoints and results go.")
    compute: ComputeSpec = Field(default=ComputeSpec(), description="What to train with.")
    limits: LimitsSpec = Field(default=LimitsSpec(), description="When to give up.")
